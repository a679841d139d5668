"""Requeues jobs with lapsed leases, and deletes expired transcripts and files without a job."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog

from asr_service import metrics, tasks
from asr_service.errors import Unavailable
from asr_service.jobs.outages import OutageLog
from asr_service.jobs.records import Job, JobStatus
from asr_service.jobs.service import Jobs
from asr_service.jobs.stores.damage import is_damaged
from asr_service.jobs.times import MAX_CLOCK_SKEW_S, RunnerTimes

log = structlog.get_logger(__name__)

_RANDOM: Final = random.SystemRandom()
_RECORDINGS_EVERY: Final = 120
"""Number of sweeps between two that also check all recordings."""
_TRANSCRIPTS_EVERY: Final = 2160
"""Number of sweeps between two that also check all transcripts. There are many of them, and few are without a job."""
_MAX_FAILURES: Final = 3
_MIN_FILE_AGE_S: Final = 3600.0
"""A younger recording may belong to a job that is being submitted."""
_MIN_UNKNOWN_AGE_S: Final = 24 * 3600.0
"""Minimum age of files without any record when they are deleted. If a Redis has lost its data, an operator can restore
it meanwhile."""
_MAX_CLOCK_STEP_S: Final = 1.0
_EXPIRE_AFTER_STEP_S: Final = 3600.0
"""How long nothing is deleted because of its age after the clock was set, so that a wrong clock can be corrected."""


class Sweeper:
    """Sweeps at intervals. Every slot has one, and their sweeps may coincide."""

    def __init__(self, jobs: Jobs, times: RunnerTimes) -> None:
        self._jobs = jobs
        self._times = times
        self._tasks: list[asyncio.Task[None]] = []
        self._obsolete: set[str] = set()
        """Jobs whose files must be deleted. They stay here while the files cannot be used."""
        self._clock_offset_s = time.time() - time.monotonic()
        self._may_requeue_at = 0.0
        self._may_expire_at = time.monotonic() + times.settle_s

    def start(self) -> None:
        """Begin to sweep. Records do not wait for files: transfers of large recordings may occupy all their threads."""
        metrics.show_job_counters()
        for sweep in (self._records, self._files):
            self._tasks.append(asyncio.create_task(self._repeat(sweep)))

    async def close(self) -> None:
        await tasks.cancel(self._tasks)

    async def _repeat(self, sweep: Callable[[int], Awaitable[None]]) -> None:
        outages = OutageLog(log, "jobs cannot be swept")
        for number in itertools.count():
            with outages.no_errors():
                await sweep(number)
            await asyncio.sleep(self._times.sweep_s * _RANDOM.uniform(0.8, 1.2))

    async def _records(self, _number: int) -> None:
        await self._jobs.call(self.sweep_records)

    async def _files(self, number: int) -> None:
        await self._jobs.call_files(
            self.sweep_files,
            with_recordings=number % _RECORDINGS_EVERY == 0,
            with_transcripts=number % _TRANSCRIPTS_EVERY == _RECORDINGS_EVERY,
        )

    def sweep_records(self) -> None:
        """Count all jobs, requeue lapsed ones, and let old ones expire. Blocks.

        Raises Unavailable: the records cannot be used, or the clock of this machine is wrong.
        """
        store, now = self._jobs.store, time.time()
        self._count(now)
        self._check_clock(now)
        if time.monotonic() >= self._may_requeue_at:
            self._requeue_lapsed(now)
        if time.monotonic() >= self._may_expire_at:
            self._obsolete.update(store.expire(now, now - self._jobs.retention_s))

    def _count(self, now: float) -> None:
        store = self._jobs.store
        counts = store.counts()
        kind = "shared" if store.is_shared else "local"
        for status, n_jobs in counts.by_status.items():
            metrics.JOBS.labels(status, kind).set(n_jobs)
        oldest = counts.oldest_waiting_at
        metrics.JOBS_OLDEST.labels(kind).set(now - oldest if oldest is not None else 0)

    def sweep_files(self, *, with_recordings: bool = False, with_transcripts: bool = False) -> None:
        """Delete the files of jobs that have expired or failed and, on request, files without a job. Blocks.

        Raises Unavailable: a file cannot be deleted.
        """
        may_be_old = time.monotonic() >= self._may_expire_at
        with contextlib.ExitStack() as each:  # a failure of one does not keep the others from running
            if with_transcripts and may_be_old:
                each.callback(lambda: _delete_each(self._transcripts_without_job(), self._jobs.files.delete))
            if with_recordings and may_be_old:
                each.callback(lambda: _delete_each(self._recordings_without_job(), self._jobs.files.delete_audio))
            _delete_each(self._obsolete.copy(), self._delete_obsolete)

    def _check_clock(self, now: float) -> None:
        """Postpone what depends on the time after the clock was set or the machine slept.

        All leases seem to have lapsed then. Their runners renew them in the time of a lease, if they still exist.

        Raises Unavailable: the clock differs from that of the store's server, so all times may be wrong.
        """
        monotonic = time.monotonic()
        step_s = now - monotonic - self._clock_offset_s
        self._clock_offset_s += step_s
        if abs(step_s) > _MAX_CLOCK_STEP_S:
            log.warning("the clock was set", by_s=round(step_s, 1))
            self._may_requeue_at = monotonic + self._times.lease_s
            self._may_expire_at = monotonic + _EXPIRE_AFTER_STEP_S
        skew_s = self._jobs.store.clock_skew_s()
        if abs(skew_s) > MAX_CLOCK_SKEW_S:
            self._may_expire_at = monotonic + _EXPIRE_AFTER_STEP_S
            raise Unavailable(
                f"The clock of this machine differs from that of the store by {abs(skew_s):.0f} s. Synchronize the "
                "clocks of all machines (NTP)."
            )

    def _requeue_lapsed(self, now: float) -> None:
        expires_at = now + self._jobs.retention_s
        delays_s = self._times.retry_delays_s
        for job in self._jobs.store.requeue_lapsed(now, retry_delays_s=delays_s, expires_at=expires_at):
            log.warning("a job's runner is lost", job_id=job.id, attempts=job.attempts, status=job.status)
            metrics.JOB_ATTEMPTS.labels("lost").inc()
            if not job.is_open:
                self._obsolete.add(job.id)

    def _delete_obsolete(self, job_id: str) -> None:
        self._jobs.files.delete(job_id)
        self._obsolete.discard(job_id)

    def _recordings_without_job(self) -> Collection[str]:
        store, files = self._jobs.store, self._jobs.files
        oldest = frozenset(files.old_audio(_MIN_UNKNOWN_AGE_S))
        ended = store.ended(files.old_audio(_MIN_FILE_AGE_S))
        return [job_id for job_id in ended if job_id in oldest or store.get(job_id) is not None]

    def _transcripts_without_job(self) -> Collection[str]:
        """Return old transcripts that no job has: the record was lost, or the job ended while a runner stored them."""
        min_age_s = max(self._jobs.retention_s, _MIN_UNKNOWN_AGE_S)
        found = self._jobs.files.old_transcripts(min_age_s)
        return [job_id for job_id in found if not _may_have_transcript(self._jobs.store.get(job_id))]


def _may_have_transcript(job: Job | None) -> bool:
    """Return False if the job does not exist, or has ended without a transcript. A damaged record may be restored."""
    return job is not None and (job.is_open or job.status is JobStatus.SUCCEEDED or is_damaged(job))


def _delete_each(job_ids: Collection[str], delete: Callable[[str], None]) -> None:
    """Delete the files of each job, in a random order: some that cannot be deleted do not keep others from it for ever.

    Raises Unavailable: some cannot be deleted. If there are several, the place of the files may not work, and the
    others are left for later.
    """
    failures: list[Unavailable] = []
    for job_id in _RANDOM.sample(tuple(job_ids), len(job_ids)):
        try:
            delete(job_id)
        except Unavailable as error:
            failures.append(error)
            if len(failures) == _MAX_FAILURES:
                break
    if failures:
        raise failures[-1]
