"""Claims jobs and runs one attempt at each."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import structlog

from asr_service import metrics, tasks
from asr_service.errors import AsrError, RequestError, Unavailable
from asr_service.jobs.files import FileMissing
from asr_service.jobs.records import MAX_ATTEMPTS, Claim, Job, JobError, JobStatus
from asr_service.jobs.running.executor import AttemptFailed, JobExecutor, Length, Started, Work, WorkReturned
from asr_service.jobs.running.segment_writer import LeaseLost, SegmentWriter
from asr_service.jobs.service import Jobs
from asr_service.jobs.stores.damage import read_segments
from asr_service.jobs.times import RunnerTimes
from asr_service.tracing import linked_trace
from asr_service.transcript import Segment, Transcript, codec

log = structlog.get_logger(__name__)

_WITHOUT_TRANSCRIPT: Final = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})
_MISSING: Final = "recording_missing", "The recording of this job is not there any more."
_MAX_POSTPONED_S: Final = 300.0


class _StoreUnavailable(Exception):
    """The records or the files cannot be used at the moment. The attempt does not count."""


@contextlib.contextmanager
def _as_store_unavailable() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise _StoreUnavailable(error.message) from error


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    job: Job
    task: asyncio.Task[None]
    """Ends with the attempt, and raises nothing but CancelledError."""


class Attempts:
    """The attempts that run in this process. Each keeps its lease, and stores its segments and its result."""

    def __init__(self, jobs: Jobs, executor: JobExecutor, times: RunnerTimes) -> None:
        self._jobs = jobs
        self._executor = executor
        self._times = times
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._draining = False

    def __len__(self) -> int:
        return len(self._running)

    @property
    def jobs(self) -> list[Job]:
        """The jobs whose attempts run, as they were when they were claimed."""
        return [claim.job for claim in self._running.values()]

    async def claim(self, runner: str) -> RunningAttempt | None:
        """Claim the next job and begin to run it. Returns None without a job. Raises Unavailable."""
        claiming = asyncio.ensure_future(
            self._jobs.call(self._jobs.store.claim, runner, time.time(), self._times.lease_s)
        )
        try:
            claim = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):  # whatever fails, this task must end; the lease lapses
                if (claim := await claiming) is not None:
                    await self._give_back(claim)
            raise
        if claim is not None and self._draining:
            await self._give_back(claim)
            return None
        if claim is None:
            return None
        task = asyncio.create_task(self._run(claim))
        self._running[task] = claim
        task.add_done_callback(self._forget)
        return RunningAttempt(claim.job, task)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._running[task]

    async def drain(self) -> None:
        """Give back all jobs that run. No other job can be claimed."""
        self._draining = True
        running = dict(self._running)
        await tasks.cancel(running)
        for claim in running.values():
            with contextlib.suppress(Unavailable):  # then the lease lapses
                await self._give_back(claim)

    async def _give_back(self, claim: Claim) -> None:
        if await self._jobs.call(self._jobs.store.give_back, claim.job.id, claim.token):
            log.info("job given back", job_id=claim.job.id)

    async def _postpone(self, claim: Claim, reason: str) -> None:
        """Put a job back whose attempt does not count. The longer it has been tried, the later it is tried again.

        So one recording that can never be read takes little time from other jobs.
        """
        job, now = claim.job, time.time()
        tried_s = max(now - (job.started_at or now), 0.0)
        not_before = now + min(tried_s / 2, _MAX_POSTPONED_S)
        error = JobError(Unavailable.code, reason)
        await self._jobs.call(self._jobs.store.retry, job.id, claim.token, not_before, error, counts=False)

    async def _run(self, claim: Claim) -> None:
        with structlog.contextvars.bound_contextvars(job_id=claim.job.id):
            log.info("job started", attempt=claim.job.attempts)
            try:
                transcript, n_bytes = await self._while_leased(claim)
                await self._succeed(claim, transcript, n_bytes)
            except LeaseLost:
                metrics.JOB_ATTEMPTS.labels("stopped").inc()
                log.info("job stopped", reason="it was cancelled, or another runner has it")
            except WorkReturned:
                with contextlib.suppress(Unavailable):  # then the lease lapses
                    await self._give_back(claim)
            except _StoreUnavailable as error:
                log.warning("job attempt postponed", reason=str(error))
                await asyncio.sleep(self._times.retry_delays_s[0])
                with contextlib.suppress(Unavailable):
                    await self._postpone(claim, str(error))
            except Exception as error:  # noqa: BLE001 - whatever failed, the job must not stay claimed
                with contextlib.suppress(Unavailable):  # then the lease lapses
                    await self._give_up(claim, error)

    async def _while_leased(self, claim: Claim) -> tuple[Transcript, int]:
        """Transcribe and store the result while the lease is held. Raises LeaseLost."""
        work = asyncio.create_task(self._traced_work(claim))
        lease = asyncio.create_task(self._keep_lease(claim))
        try:
            await asyncio.wait({work, lease}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise LeaseLost
            return await work
        finally:
            await tasks.cancel([work, lease])

    async def _keep_lease(self, claim: Claim) -> None:
        """Renew the lease. Returns when it is lost."""
        store, job_id, token = self._jobs.store, claim.job.id, claim.token
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(self._times.poll_s)
            now = time.monotonic()
            try:
                if now - renewed_at < self._times.lease_s / 3:
                    is_held = await self._jobs.call(store.holds, job_id, token)
                else:
                    is_held = await self._jobs.call(store.renew, job_id, token, time.time() + self._times.lease_s)
                    renewed_at = now
            except Unavailable:
                is_held = time.monotonic() - renewed_at < self._times.lease_s
            if not is_held:
                return

    async def _still_holds(self, claim: Claim) -> bool:
        """Renew the lease. While the records are unavailable, it counts as held."""
        until = time.time() + self._times.lease_s
        try:
            return await self._jobs.call(self._jobs.store.renew, claim.job.id, claim.token, until)
        except Unavailable:
            return True

    async def _traced_work(self, claim: Claim) -> tuple[Transcript, int]:
        jobs, job = self._jobs, claim.job
        with linked_trace("job", job.spec.traceparent, {"asr.job_id": job.id, "asr.attempt": job.attempts}):
            transcript = await self._transcribe(claim)
            data = await jobs.call(lambda: codec.encode(transcript).encode())
            with _as_store_unavailable():
                if not await self._still_holds(claim):
                    raise LeaseLost  # another runner may have stored its transcript
                await jobs.call_files(jobs.files.store_transcript, job.id, data)
        return transcript, len(data)

    async def _succeed(self, claim: Claim, transcript: Transcript, n_bytes: int) -> None:
        jobs, job = self._jobs, claim.job
        with _as_store_unavailable():
            is_held = await self._store_success(claim, transcript.duration, n_bytes)
        if not is_held:
            current = await jobs.call(jobs.store.get, job.id)
            if current is None or current.status in _WITHOUT_TRANSCRIPT:
                await jobs.call_files(jobs.files.delete, job.id)
            raise LeaseLost
        jobs.note_change(job.id)
        metrics.JOB_ATTEMPTS.labels("succeeded").inc()
        log.info("job succeeded", audio_s=round(transcript.duration, 3))
        with contextlib.suppress(Unavailable):  # then the sweeper deletes it
            await jobs.call_files(jobs.files.delete_audio, job.id)

    async def _store_success(self, claim: Claim, audio_s: float, n_bytes: int) -> bool:
        """Mark the job as succeeded; try again while the store is unavailable, as long as the lease can be held."""
        jobs, until = self._jobs, time.monotonic() + self._times.lease_s
        while True:
            now = time.time()
            try:
                return await jobs.call(
                    jobs.store.succeed,
                    claim.job.id,
                    claim.token,
                    now,
                    audio_s=audio_s,
                    result_bytes=n_bytes,
                    expires_at=now + jobs.retention_s,
                )
            except Unavailable:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(self._times.poll_s)

    async def _transcribe(self, claim: Claim) -> Transcript:
        jobs, job = self._jobs, claim.job
        with _as_store_unavailable():
            earlier = await jobs.call(self._earlier, job)
        work = Work(job.id, job.owner, job.spec.options, job.resume_key, earlier, job.spec.recording_sha256)
        try:
            with _as_store_unavailable():
                file = await jobs.call_files(jobs.files.open_audio, job.id)
        except FileMissing as error:
            raise AttemptFailed(*_MISSING, is_final=False) from error  # another machine may have it
        with file:
            events = self._executor.transcribe(work, file)
            async with aclosing(events), SegmentWriter(jobs, claim, self._times.flush_s) as writer:
                async for event in events:
                    match event:
                        case Started():
                            writer.resume_key = event.resume_key
                        case Length():
                            writer.audio_s_total = event.audio_s
                        case Segment():
                            writer.add(event)
                        case Transcript():
                            return event
        raise AssertionError("the last event is a Transcript")

    def _earlier(self, job: Job) -> tuple[Segment, ...]:
        """Return the segments of an interrupted run. Blocks."""
        return () if job.resume_key is None else read_segments(job.id, self._jobs.store.segments(job.id))

    async def _give_up(self, claim: Claim, error: Exception) -> None:
        """Fail the job, or leave it for another attempt."""
        jobs, job, now = self._jobs, claim.job, time.time()
        failure = _describe(error)
        if _is_final(error) or job.attempts >= MAX_ATTEMPTS:
            expires_at = now + jobs.retention_s
            if await jobs.call(jobs.store.fail, job.id, claim.token, now, failure, expires_at=expires_at):
                jobs.note_change(job.id)
                await jobs.call_files(jobs.files.delete_audio, job.id)
            outcome = "failed"
        else:
            not_before = now + self._times.retry_delays_s[job.attempts - 1]
            await jobs.call(jobs.store.retry, job.id, claim.token, not_before, failure)
            outcome = "retried"
        metrics.JOB_ATTEMPTS.labels(outcome).inc()
        log.warning("job attempt failed", outcome=outcome, code=failure.code, reason=failure.message)


def _is_final(error: Exception) -> bool:
    return isinstance(error, RequestError) or (isinstance(error, AttemptFailed) and error.is_final)


def _describe(error: Exception) -> JobError:
    if isinstance(error, AsrError | AttemptFailed):
        return JobError(error.code, error.message)
    log.error("unexpected error", exc_info=error)
    return JobError("internal_error", "Unexpected error. The service's log has the details.")
