"""Send recordings as requests and as jobs, and take the times."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from benchmarks.common.client import Response, Run, closed_loop
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch
from benchmarks.jobs.installation import Installation

_CONCURRENCY = 16
_WAIT_S = 30
_TIMEOUT = httpx.Timeout(120.0)


@dataclass(frozen=True, slots=True)
class Batch:
    """The same recordings, sent in one of the two ways."""

    wall_s: float
    cpu_s: float
    others_cores: float
    """Cores that other processes used meanwhile."""


async def requests(installation: Installation, clips: Sequence[Clip]) -> Batch:
    """Transcribe the clips with 16 requests at a time. Raises RuntimeError: one failed."""
    watch, cpu_s = Watch.start(), installation.cpu_s()
    run = await closed_loop(installation.url, clips, _CONCURRENCY)
    if run.n_failed:
        raise RuntimeError(f"{run.n_failed} requests failed.")
    return Batch(run.wall_s, installation.cpu_s() - cpu_s, watch.others_cores())


async def jobs(installation: Installation, clips: Sequence[Clip]) -> Batch:
    """Submit the clips as jobs, 16 at a time, and wait until all have ended. Raises RuntimeError: one failed."""
    watch, cpu_s, began = Watch.start(), installation.cpu_s(), time.perf_counter()
    async with httpx.AsyncClient(base_url=installation.url, timeout=_TIMEOUT) as client:
        for job_id in await submit(client, clips):
            await _succeeds(client, job_id)
    return Batch(time.perf_counter() - began, installation.cpu_s() - cpu_s, watch.others_cores())


async def submit(client: httpx.AsyncClient, clips: Sequence[Clip]) -> list[str]:
    """Submit the clips, 16 at a time. Returns the ids of the jobs."""
    contents = {clip: clip.path.read_bytes() for clip in set(clips)}
    places = asyncio.Semaphore(_CONCURRENCY)

    async def send(clip: Clip) -> str:
        async with places:
            response = await client.post("/jobs", files={"file": ("recording", contents[clip])})
        response.raise_for_status()
        return str(response.json()["id"])

    return await asyncio.gather(*map(send, clips))


async def _succeeds(client: httpx.AsyncClient, job_id: str) -> None:
    while True:
        job = (await client.get(f"/jobs/{job_id}", params={"wait": _WAIT_S})).raise_for_status().json()
        if job["status"] == "succeeded":
            return
        if job["status"] not in {"queued", "running"}:
            raise RuntimeError(f"A job is {job['status']}: {job['error']}.")


async def latency(installation: Installation, clip: Clip, number: int, pause_s: float) -> Run:
    """Send a clip again and again, one at a time, with pauses between them."""
    responses: list[Response] = []
    for _ in range(number):
        responses += (await closed_loop(installation.url, [clip], 1)).responses
        await asyncio.sleep(pause_s)
    return Run(tuple(responses), 0.0)


async def cancel_all(installation: Installation) -> int:
    """Cancel the jobs that have not ended. Returns how many of them waited."""
    n_waiting = 0
    async with httpx.AsyncClient(base_url=installation.url, timeout=_TIMEOUT) as client:
        for status in ("queued", "running"):
            while page := (await client.get("/jobs", params={"status": status, "limit": 100})).json()["data"]:
                n_waiting += len(page) if status == "queued" else 0
                for job in page:
                    await client.delete(f"/jobs/{job['id']}")
    return n_waiting
