"""Transcripts by the content of their recordings, so that equal work is not done twice."""

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from asr_service import metrics
from asr_service.results.codec import ResultUnreadable, compress, decompress
from asr_service.results.computations import Computations
from asr_service.results.guarded import GuardedStore
from asr_service.results.store import StoreFailed
from asr_service.transcript import Transcript
from asr_service.transcript.events import Events

log = structlog.get_logger(__name__)

_JITTER: Final = 0.1
"""Results that were stored together, such as those of a nightly batch, must not all expire in one minute."""
BULK: Final = "bulk"
"""The lane of jobs. A request does not wait for a job, which may itself wait for all requests."""


class CacheOutcome(StrEnum):
    """Where a transcript comes from, as the header `x-asr-cache` and the metrics name it."""

    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What a request allows."""

    reads: bool = True
    """Whether a stored transcript may be the answer."""
    stores: bool = True


class ResultCache:
    """Keeps transcripts in a store. If the store fails, the transcripts are computed. Used on one event loop."""

    def __init__(self, store: GuardedStore, computations: Computations, ttl_s: float) -> None:
        self._store = store
        self._computations = computations
        self._ttl_s = ttl_s

    async def events(
        self,
        key: str,
        compute: Callable[[], Events],
        *,
        policy: CachePolicy = CachePolicy(),
        on_outcome: Callable[[CacheOutcome], object] = lambda _: None,
        lane: str = "",
        wait_s: float = math.inf,
    ) -> Events:
        """Yield the events of `compute`, or those of the stored transcript. A computed transcript is stored.

        While an equal request of the same lane computes, this waits for its transcript, for at most `wait_s`.
        `on_outcome` is called before the first event.
        """
        async with self._lookup(key, policy, lane, wait_s) as stored:
            if stored is not None:
                outcome, events = CacheOutcome.HIT, _replayed(stored)
            else:
                outcome = CacheOutcome.MISS if policy.reads else CacheOutcome.BYPASS
                events = self._computed(key, compute, policy)
            metrics.CACHE_REQUESTS.labels(outcome.value).inc()
            on_outcome(outcome)
            async with aclosing(events):
                async for event in events:
                    yield event

    async def find(self, key: str) -> Transcript | None:
        """Return the stored transcript; None without one. Only a hit counts in the metrics."""
        transcript = await self._load(key)
        if transcript is not None:
            metrics.CACHE_REQUESTS.labels(CacheOutcome.HIT.value).inc()
        return transcript

    @asynccontextmanager
    async def _lookup(
        self, key: str, policy: CachePolicy, lane: str, wait_s: float
    ) -> AsyncIterator[Transcript | None]:
        """Yield the stored transcript; None without one. Until the context ends, equal requests wait for this one."""
        if not policy.reads:
            yield None
        elif not policy.stores:  # others would wait in vain
            yield await self._load(key)
        else:
            async with self._computations.turn(key, lane=lane, wait_s=wait_s) as value:
                yield await self._decoded(key, value)

    async def _computed(self, key: str, compute: Callable[[], Events], policy: CachePolicy) -> Events:
        async with aclosing(compute()) as events:
            async for event in events:
                if isinstance(event, Transcript) and policy.stores:
                    await self._keep(key, event)
                yield event

    async def _load(self, key: str) -> Transcript | None:
        try:
            return await self._decoded(key, await self._store.load(key))
        except StoreFailed:
            return None

    async def _decoded(self, key: str, value: bytes | None) -> Transcript | None:
        """Return the transcript; None without one. Deletes a value that cannot be read."""
        if value is None:
            return None
        try:
            return await asyncio.to_thread(decompress, value)
        except ResultUnreadable as error:
            metrics.CACHE_ERRORS.labels("unreadable").inc()
            log.warning("a stored result cannot be read", reason=str(error))
        with contextlib.suppress(StoreFailed):  # then it is deleted when it is read again
            await self._store.delete(key)
        return None

    async def _keep(self, key: str, transcript: Transcript) -> None:
        value = await asyncio.to_thread(compress, transcript)
        with contextlib.suppress(StoreFailed):  # then the next equal request computes it
            await self._store.store(key, value, self._ttl_s * random.uniform(1 - _JITTER, 1))  # noqa: S311


async def _replayed(transcript: Transcript) -> Events:
    for segment in transcript.segments:
        yield segment
    yield transcript
