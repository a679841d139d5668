"""Clients in numbers: closed loop (so many at a time) and open loop (so many a second, whatever becomes of them)."""

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
class Answer:
    clip: Clip
    latency_s: float
    status: int
    """0 where the connection broke."""
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """What a crowd of clients saw."""

    answers: tuple[Answer, ...]
    wall_s: float

    @property
    def good(self) -> tuple[Answer, ...]:
        return tuple(answer for answer in self.answers if answer.status == httpx.codes.OK)

    @property
    def requests_per_s(self) -> float:
        return len(self.good) / self.wall_s

    @property
    def audio_s_per_s(self) -> float:
        return sum(answer.clip.seconds for answer in self.good) / self.wall_s

    def latency_s(self, percentile: float) -> float:
        """NaN where nothing was answered."""
        latencies = [answer.latency_s for answer in self.good]
        return float(np.percentile(latencies, percentile)) if latencies else float("nan")

    @property
    def errors(self) -> Errors:
        """Of every clip with a reference, as often as it was sent; no answer is an answer without words."""
        scored = [answer for answer in self.answers if answer.clip.reference]
        return sum((score(answer) for answer in scored), Errors(0, 0))


def score(answer: Answer) -> Errors:
    return count_errors(answer.clip.reference, answer.text, answer.clip.language or "en")


async def closed_loop(url: str, clips: Sequence[Clip], concurrency: int, language: str | None = None) -> Run:
    """Post the clips in order, `concurrency` at a time."""
    contents = _contents(clips)
    waiting = iter(clips)
    answers: list[Answer] = []
    async with _client(url) as client:

        async def one_after_the_other() -> None:
            for clip in waiting:
                answers.append(await post(client, clip, contents[clip], language))  # noqa: PERF401 - one iterator, shared

        began = time.perf_counter()
        await asyncio.gather(*(one_after_the_other() for _ in range(concurrency)))
        return Run(tuple(answers), time.perf_counter() - began)


async def open_loop(url: str, clips: Sequence[Clip], rate: float, duration_s: float, seed: int = 1) -> Run:
    """Post clips at `rate` a second with exponential gaps, for `duration_s`, then wait for the last answer."""
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
    """A Poisson process: seconds from the beginning, rising, under `duration_s`."""
    random_gaps = random.Random(seed)
    at_s = random_gaps.expovariate(rate)
    while at_s < duration_s:
        yield at_s
        at_s += random_gaps.expovariate(rate)


async def post(client: httpx.AsyncClient, clip: Clip, content: bytes, language: str | None) -> Answer:
    """Send one clip and time it, from the first byte sent to the last received. A refusal is an answer too."""
    began = time.perf_counter()
    try:
        answer = await client.post(
            "/transcribe", files={"file": (clip.path.name, content)}, data={"language": language} if language else {}
        )
        status, text = answer.status_code, answer.json()["text"] if answer.is_success else ""
    except httpx.TransportError:
        status, text = 0, ""
    return Answer(clip, time.perf_counter() - began, status, text)


def _contents(clips: Iterable[Clip]) -> dict[Clip, bytes]:
    return {clip: clip.path.read_bytes() for clip in set(clips)}


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    uds = url.removeprefix("unix:") if url.startswith("unix:") else None
    transport = httpx.AsyncHTTPTransport(uds=uds, limits=limits)
    return httpx.AsyncClient(base_url=base_url(url), timeout=_TIMEOUT_S, transport=transport)
