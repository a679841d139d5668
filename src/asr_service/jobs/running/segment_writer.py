"""Stores the segments of a job as they become known."""

import asyncio
from collections.abc import Sequence
from typing import Self

from asr_service import tasks
from asr_service.errors import Unavailable
from asr_service.jobs.records import Claim
from asr_service.jobs.service import Jobs
from asr_service.transcript import Segment, codec


class LeaseLost(Exception):
    """The job was cancelled, or another runner has it."""


class SegmentWriter:
    """Writes segments to the store, in one transaction for all that are new. Used as a context."""

    def __init__(self, jobs: Jobs, claim: Claim, flush_s: float) -> None:
        """`flush_s` is the minimum time between two writes."""
        self._jobs = jobs
        self._claim = claim
        self._flush_s = flush_s
        self._new: list[Segment] = []
        self._arrived = asyncio.Event()
        self.resume_key = ""
        """The key of the run that yields the segments. Set before the first of them."""
        self.audio_s_total = claim.job.audio_s_total

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        await tasks.cancel([self._task])

    def add(self, segment: Segment) -> None:
        """Queue a segment. Raises LeaseLost: earlier ones could not be written."""
        if self._task.done():
            self._task.result()
        self._new.append(segment)
        self._arrived.set()

    async def _write_forever(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(self._flush_s)
            self._arrived.clear()
            new, self._new = self._new, []
            try:
                is_held = await self._write(new)
            except Unavailable:  # they are written later; if that takes too long, the lease ends the attempt
                self._new = [*new, *self._new]
                self._arrived.set()
                continue
            if not is_held:
                raise LeaseLost

    async def _write(self, new: Sequence[Segment]) -> bool:
        return await self._jobs.call(
            self._jobs.store.store_segments,
            self._claim.job.id,
            self._claim.token,
            new[0].id,
            [codec.encode_segment(segment) for segment in new],
            resume_key=self.resume_key,
            audio_s_done=new[-1].end,
            audio_s_total=self.audio_s_total,
        )
