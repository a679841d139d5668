"""Many HTTP clients at once, in a closed loop (fixed concurrency) or an open loop (fixed arrival rate)."""

import asyncio
import itertools
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx
import numpy as np

from benchmarks.common.corpus import Clip
from benchmarks.common.scoring import Errors, count_errors
from benchmarks.common.servers import base_url

_TIMEOUT_S = 590.0


@dataclass(frozen=True, slots=True)
class Response:
    clip: Clip
    latency_s: float
    status: int
    """0 if the connection was lost."""
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """All responses to one load."""

    responses: tuple[Response, ...]
    wall_s: float

    @property
    def successful(self) -> tuple[Response, ...]:
        return tuple(response for response in self.responses if response.status == httpx.codes.OK)

    @property
    def n_failed(self) -> int:
        return len(self.responses) - len(self.successful)

    @property
    def requests_per_s(self) -> float:
        return len(self.successful) / self.wall_s

    @property
    def audio_s_per_s(self) -> float:
        return sum(response.clip.seconds for response in self.successful) / self.wall_s

    def latency_s(self, percentile: float) -> float:
        """Return a percentile of the latency of successful requests. NaN if there are none."""
        latencies = [response.latency_s for response in self.successful]
        return float(np.percentile(latencies, percentile)) if latencies else float("nan")


def score(response: Response) -> Errors:
    return count_errors(response.clip.reference, response.text, response.clip.language or "en")


async def closed_loop(url: str, clips: Sequence[Clip], concurrency: int, language: str | None = None) -> Run:
    """Post the clips in order with `concurrency` requests open at a time."""
    contents = _contents(clips)
    waiting = iter(clips)
    responses: list[Response] = []
    async with _client(url) as client:

        async def send_in_turn() -> None:
            for clip in waiting:
                responses.append(await post(client, clip, contents[clip], language))  # noqa: PERF401 - all tasks share one iterator

        began = time.perf_counter()
        await asyncio.gather(*(send_in_turn() for _ in range(concurrency)))
        return Run(tuple(responses), time.perf_counter() - began)


async def open_loop(url: str, clips: Sequence[Clip], rate: float, duration_s: float, seed: int = 1) -> Run:
    """Post `rate` clips per second with exponential gaps for `duration_s`, then wait for the last response."""
    contents = _contents(clips)
    async with _client(url) as client, asyncio.TaskGroup() as group:
        began = time.perf_counter()
        tasks = []
        for clip, due_s in zip(itertools.cycle(clips), arrivals(rate, duration_s, seed), strict=False):
            await asyncio.sleep(began + due_s - time.perf_counter())
            tasks.append(group.create_task(post(client, clip, contents[clip], None)))
        await asyncio.gather(*tasks)
        wall_s = time.perf_counter() - began
    return Run(tuple(task.result() for task in tasks), wall_s)


def arrivals(rate: float, duration_s: float, seed: int) -> Iterable[float]:
    """Yield the times of a Poisson process in ascending order: seconds from the start, below `duration_s`."""
    random_gaps = random.Random(seed)
    at_s = random_gaps.expovariate(rate)
    while at_s < duration_s:
        yield at_s
        at_s += random_gaps.expovariate(rate)


async def post(client: httpx.AsyncClient, clip: Clip, content: bytes, language: str | None) -> Response:
    """Send one clip and measure the time from the first byte sent to the last byte received."""
    began = time.perf_counter()
    try:
        answer = await client.post(
            "/transcribe", files={"file": (clip.path.name, content)}, data={"language": language} if language else {}
        )
        status, text = answer.status_code, answer.json()["text"] if answer.is_success else ""
    except httpx.TransportError:
        status, text = 0, ""
    return Response(clip, time.perf_counter() - began, status, text)


def _contents(clips: Iterable[Clip]) -> dict[Clip, bytes]:
    return {clip: clip.path.read_bytes() for clip in set(clips)}


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    uds = url.removeprefix("unix:") if url.startswith("unix:") else None
    transport = httpx.AsyncHTTPTransport(uds=uds, limits=limits)
    return httpx.AsyncClient(base_url=base_url(url), timeout=_TIMEOUT_S, transport=transport)
