"""Requeues jobs with lapsed leases, and deletes expired transcripts and files without a job."""

import asyncio
import random
import time
from typing import Final

import structlog

from asr_service import metrics, tasks
from asr_service.errors import AsrError
from asr_service.jobs.service import Jobs
from asr_service.jobs.times import RunnerTimes

log = structlog.get_logger(__name__)

_RANDOM: Final = random.SystemRandom()
_FILES_EVERY: Final = 120
"""Number of sweeps between two that also check all files."""
_MIN_FILE_AGE_S: Final = 3600.0
"""A younger recording may belong to a job that is being submitted."""


class Sweeper:
    """Sweeps at intervals. Every slot has one, and their sweeps may coincide."""

    def __init__(self, jobs: Jobs, times: RunnerTimes) -> None:
        self._jobs = jobs
        self._times = times
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        metrics.show_job_counters()
        self._task = asyncio.create_task(self._sweep_forever())

    async def close(self) -> None:
        if self._task is not None:
            await tasks.cancel([self._task])

    async def _sweep_forever(self) -> None:
        number = 0
        while True:
            try:
                await self._jobs.call_files(self.sweep, with_files=number % _FILES_EVERY == 0)
            except AsrError as error:
                log.warning("jobs cannot be swept", reason=error.message)
            except Exception:
                log.exception("jobs cannot be swept")
            number += 1
            await asyncio.sleep(self._times.sweep_s * _RANDOM.uniform(0.8, 1.2))

    def sweep(self, *, with_files: bool) -> None:
        """Sweep once. Blocks. Raises Unavailable."""
        store, files, now = self._jobs.store, self._jobs.files, time.time()
        expires_at = now + self._jobs.retention_s
        for job in store.requeue_lapsed(now, retry_delays_s=self._times.retry_delays_s, expires_at=expires_at):
            log.warning("a job's runner is lost", job_id=job.id, attempts=job.attempts, status=job.status)
            metrics.JOB_ATTEMPTS.labels("lost").inc()
            if not job.is_open:
                files.delete_audio(job.id)
        for job_id in store.expire(now, now - self._jobs.retention_s):
            files.delete(job_id)
        if with_files:
            for job_id in store.ended(files.old_audio(_MIN_FILE_AGE_S)):
                files.delete_audio(job_id)
        counts = store.counts()
        kind = "shared" if store.is_shared else "local"
        for status, n_jobs in counts.by_status.items():
            metrics.JOBS.labels(status, kind).set(n_jobs)
        oldest = counts.oldest_waiting_at
        metrics.JOBS_OLDEST.set(now - oldest if oldest is not None else 0)
