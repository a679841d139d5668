"""Runs jobs in a slot, as bulk requests."""

import asyncio
import socket
import time
from typing import Final

import structlog

from asr_service import tasks
from asr_service.jobs.outages import OutageLog
from asr_service.jobs.records import Job
from asr_service.jobs.running.attempts import Attempts
from asr_service.jobs.running.slot_executor import MAX_CLIP_BYTES, SlotExecutor
from asr_service.jobs.service import Jobs
from asr_service.jobs.times import RunnerTimes

log = structlog.get_logger(__name__)

_MAX_CLIP_S: Final = 30.0


class SlotRunner:
    """Claims jobs while the slot has room for them, runs them, and gives them back when the slot drains."""

    def __init__(self, executor: SlotExecutor, slot: int, jobs: Jobs, times: RunnerTimes) -> None:
        self._jobs = jobs
        self._times = times
        self._executor = executor
        self._attempts = Attempts(jobs, executor, times)
        self._name = f"{socket.gethostname()}/{slot}"
        self._next_claim_at = 0.0
        self._claiming: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._claiming = asyncio.create_task(self._claim_forever())

    def begin_drain(self) -> None:
        """Claim no more jobs, and give back those that run."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())

    @property
    def busy(self) -> bool:
        """Whether a job runs, or is being given back."""
        return len(self._attempts) > 0

    async def close(self) -> None:
        self.begin_drain()
        if self._draining is not None:
            await self._draining

    async def _claim_forever(self) -> None:
        """Claim jobs while there is room for them.

        Clips are claimed at once, as many as fill the model's calls. A long recording fills them by itself, so after
        one of these the next claim is `poll_s` later, and idle slots get their share of long recordings.
        """
        outages = OutageLog(log, "no job can be claimed")
        while True:
            self._jobs.submitted.clear()
            with outages.no_errors():
                while time.monotonic() >= self._next_claim_at and self._has_room():
                    attempt = await self._attempts.claim(self._name)
                    if attempt is None:
                        break
                    if not _is_clip(attempt.job):
                        self._next_claim_at = time.monotonic() + self._times.poll_s
                    attempt.task.add_done_callback(lambda _: self._jobs.submitted.set())  # there is room
            await tasks.wait_for_event(self._jobs.submitted, self._times.poll_s)

    def _has_room(self) -> bool:
        are_clips = [_is_clip(job) for job in self._attempts.jobs]
        return self._executor.has_room(are_clips.count(True), are_clips.count(False))

    async def _drain(self) -> None:
        if self._claiming is not None:
            await tasks.cancel([self._claiming])
        await self._attempts.drain()
        self._jobs.release_clients()


def _is_clip(job: Job) -> bool:
    """Return True for a recording of about one window. The length of a small file may be unknown."""
    return job.audio_bytes <= MAX_CLIP_BYTES if job.audio_s_total is None else job.audio_s_total <= _MAX_CLIP_S
