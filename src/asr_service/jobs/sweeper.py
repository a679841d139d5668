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
_MIN_UNKNOWN_AGE_S: Final = 24 * 3600.0
"""Age of a recording without any record before it is deleted. If a Redis has lost its data, an operator can restore it
meanwhile."""
_MAX_CLOCK_STEP_S: Final = 1.0


class Sweeper:
    """Sweeps at intervals. Every slot has one, and their sweeps may coincide."""

    def __init__(self, jobs: Jobs, times: RunnerTimes) -> None:
        self._jobs = jobs
        self._times = times
        self._task: asyncio.Task[None] | None = None
        self._obsolete: set[str] = set()
        """Jobs whose files must be deleted. They stay here while the files cannot be used."""
        self._clock_offset_s = time.time() - time.monotonic()
        self._may_requeue_at = 0.0

    def start(self) -> None:
        metrics.show_job_counters()
        self._task = asyncio.create_task(self._sweep_forever())

    async def close(self) -> None:
        if self._task is not None:
            await tasks.cancel([self._task])

    async def _sweep_forever(self) -> None:
        number, is_down = 0, False
        while True:
            try:
                await self._jobs.call_files(self.sweep, with_files=number % _FILES_EVERY == 0)
                is_down = False
            except AsrError as error:
                if not is_down:
                    log.warning("jobs cannot be swept", reason=error.message)
                is_down = True
            except Exception:
                log.exception("jobs cannot be swept")
            number += 1
            await asyncio.sleep(self._times.sweep_s * _RANDOM.uniform(0.8, 1.2))

    def sweep(self, *, with_files: bool) -> None:
        """Sweep once. Blocks. Raises Unavailable."""
        store, now = self._jobs.store, time.time()
        if self._may_requeue(now):
            self._requeue_lapsed(now)
        self._obsolete.update(store.expire(now, now - self._jobs.retention_s))
        counts = store.counts()
        kind = "shared" if store.is_shared else "local"
        for status, n_jobs in counts.by_status.items():
            metrics.JOBS.labels(status, kind).set(n_jobs)
        oldest = counts.oldest_waiting_at
        metrics.JOBS_OLDEST.labels(kind).set(now - oldest if oldest is not None else 0)
        self._delete_obsolete()
        if with_files:
            self._delete_recordings_without_job()

    def _may_requeue(self, now: float) -> bool:
        """Return False for the time of a lease after the clock was set or the machine slept.

        All leases seem to have lapsed then. Their runners renew them in this time, if they still exist.
        """
        monotonic = time.monotonic()
        offset_s = now - monotonic
        if abs(offset_s - self._clock_offset_s) > _MAX_CLOCK_STEP_S:
            log.warning("the clock was set", by_s=round(offset_s - self._clock_offset_s, 1))
            self._may_requeue_at = monotonic + self._times.lease_s
        self._clock_offset_s = offset_s
        return monotonic >= self._may_requeue_at

    def _requeue_lapsed(self, now: float) -> None:
        expires_at = now + self._jobs.retention_s
        delays_s = self._times.retry_delays_s
        for job in self._jobs.store.requeue_lapsed(now, retry_delays_s=delays_s, expires_at=expires_at):
            log.warning("a job's runner is lost", job_id=job.id, attempts=job.attempts, status=job.status)
            metrics.JOB_ATTEMPTS.labels("lost").inc()
            if not job.is_open:
                self._obsolete.add(job.id)

    def _delete_obsolete(self) -> None:
        while self._obsolete:
            job_id = next(iter(self._obsolete))
            self._jobs.files.delete(job_id)
            self._obsolete.discard(job_id)

    def _delete_recordings_without_job(self) -> None:
        store, files = self._jobs.store, self._jobs.files
        oldest = frozenset(files.old_audio(_MIN_UNKNOWN_AGE_S))
        for job_id in store.ended(files.old_audio(_MIN_FILE_AGE_S)):
            if job_id in oldest or store.get(job_id) is not None:
                files.delete_audio(job_id)
