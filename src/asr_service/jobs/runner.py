"""Runs jobs in a slot, as bulk requests."""

import asyncio
import contextlib
import hashlib
import math
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing

import structlog

from asr_service import __version__, metrics, tasks
from asr_service.engine.model.stages import Stage
from asr_service.engine.options import DecodingOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.engine.slot import SlotEngine
from asr_service.errors import AsrError, RequestError, Unavailable
from asr_service.jobs.files import FileMissing
from asr_service.jobs.records import MAX_ATTEMPTS, Claim, JobError
from asr_service.jobs.service import Jobs
from asr_service.jobs.times import RunnerTimes
from asr_service.tracing import linked_trace
from asr_service.transcript import Segment, Transcript, codec

log = structlog.get_logger(__name__)


class _LeaseLost(Exception):
    """The job was cancelled, or another runner has it."""


class JobRunner:
    """Claims jobs while the slot has room for them, runs them, and gives them back when the slot drains."""

    def __init__(
        self, engine: SlotEngine, jobs: Jobs, times: RunnerTimes, charge: Callable[[str, float], None]
    ) -> None:
        """Create a runner. `charge` is called with the owner of a job that has succeeded, and its seconds of audio."""
        self._engine = engine
        self._charge = charge
        self._jobs = jobs
        self._times = times
        self._name = f"{socket.gethostname()}/{engine.slot.index}"
        self._running: dict[asyncio.Task[None], Claim] = {}
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
        return bool(self._running)

    async def close(self) -> None:
        self.begin_drain()
        if self._draining is not None:
            await self._draining

    # -- claiming

    async def _claim_forever(self) -> None:
        """Claim jobs. The number of jobs that run grows by one in `poll_s`, so that idle slots get their share."""
        n_wanted, grown_at = 1, time.monotonic()
        while True:
            self._jobs.submitted.clear()
            if time.monotonic() - grown_at >= self._times.poll_s:
                n_wanted, grown_at = min(n_wanted + 1, max(self._n_useful(), 1)), time.monotonic()
            try:
                while len(self._running) < min(n_wanted, self._n_useful()):
                    if not await self._claim():
                        n_wanted = max(len(self._running), 1)
                        break
            except Unavailable as error:
                log.warning("no job can be claimed", reason=error.message)
            except Exception:
                log.exception("no job can be claimed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._jobs.submitted.wait(), self._times.poll_s)

    def _n_useful(self) -> int:
        """Return how many jobs may run: enough to fill the batches of the model, one while it has other work."""
        scheduler = self._engine.scheduler
        if not self._engine.ready or scheduler is None:
            return 0
        if scheduler.queued_audio_s > 0:  # of requests; windows of jobs do not count
            return 1
        return max(scheduler.limit(Stage.GENERATE), self._engine.loaded_model.facts.threads)

    async def _claim(self) -> bool:
        claiming = asyncio.ensure_future(
            self._jobs.call(self._jobs.store.claim, self._name, time.time(), self._times.lease_s)
        )
        try:
            claim = await asyncio.shield(claiming)
        except asyncio.CancelledError:  # a drain: what was claimed meanwhile is given back
            if (claim := await claiming) is not None:
                await self._jobs.call(self._jobs.store.give_back, claim.job.id, claim.token)
            raise
        if claim is None:
            return False
        task = asyncio.create_task(self._run(claim))
        self._running[task] = claim
        task.add_done_callback(self._forget)
        return True

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._jobs.submitted.set()  # there is room

    async def _drain(self) -> None:
        if self._claiming is not None:
            await tasks.cancel([self._claiming])
        running = dict(self._running)
        await tasks.cancel(running)
        for claim in running.values():
            with contextlib.suppress(Unavailable):  # then the lease lapses
                if await self._jobs.call(self._jobs.store.give_back, claim.job.id, claim.token):
                    log.info("job given back", job_id=claim.job.id)
        self._jobs.closing.set()

    # -- one job

    async def _run(self, claim: Claim) -> None:
        with structlog.contextvars.bound_contextvars(job_id=claim.job.id):
            log.info("job started", attempt=claim.job.attempts)
            work = asyncio.create_task(self._traced_work(claim))
            lease = asyncio.create_task(self._keep_lease(claim))
            try:
                await asyncio.wait({work, lease}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await work
                else:
                    self._note_lost_lease()
            except _LeaseLost:
                self._note_lost_lease()
            except Exception as error:  # noqa: BLE001 - whatever failed, the job must not stay claimed
                with contextlib.suppress(Unavailable):  # then the lease lapses
                    await self._give_up(claim, error)
            finally:
                await tasks.cancel([work, lease])

    def _note_lost_lease(self) -> None:
        metrics.JOB_ATTEMPTS.labels("stopped").inc()
        log.info("job stopped", reason="it was cancelled, or another runner has it")

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
                is_held = now - renewed_at < self._times.lease_s
            if not is_held:
                return

    async def _traced_work(self, claim: Claim) -> None:
        job = claim.job
        with linked_trace("job", job.spec.traceparent, {"asr.job_id": job.id, "asr.attempt": job.attempts}):
            await self._work(claim)

    async def _work(self, claim: Claim) -> None:
        jobs, job = self._jobs, claim.job
        transcript = await self._transcribe(claim)
        data = await jobs.call(lambda: codec.encode(transcript).encode())
        await jobs.call(jobs.files.store_transcript, job.id, data)
        now = time.time()
        is_held = await jobs.call(
            jobs.store.succeed,
            job.id,
            claim.token,
            now,
            audio_s=transcript.duration,
            result_bytes=len(data),
            expires_at=now + jobs.retention_s,
        )
        if not is_held:
            current = await jobs.call(jobs.store.get, job.id)
            if current is None or not current.is_open:
                await jobs.call(jobs.files.delete, job.id)
            raise _LeaseLost
        metrics.JOB_ATTEMPTS.labels("succeeded").inc()
        self._charge(job.owner, transcript.duration)
        log.info("job succeeded", audio_s=round(transcript.duration, 3))
        await jobs.call(jobs.files.delete_audio, job.id)

    async def _transcribe(self, claim: Claim) -> Transcript:
        jobs, job, engine = self._jobs, claim.job, self._engine
        options = resolve_options(job.spec.options, engine.settings, engine.loaded_model)
        resume_key = _resume_key(options, engine)
        earlier: Sequence[Segment] = ()
        if job.resume_key == resume_key:
            stored = await jobs.call(jobs.store.segments, job.id)
            earlier = tuple(map(codec.decode_segment, stored))
        try:
            file = await jobs.call(jobs.files.open_audio, job.id)
        except FileMissing as error:
            raise RequestError("The recording of this job is not there any more.") from error
        writer = _SegmentWriter(jobs, claim, resume_key, self._times.flush_s)
        with file:
            events = engine.transcriber.transcribe(
                file, options, deadline=math.inf, on_length=writer.note_length, earlier=earlier, is_bulk=True
            )
            async with aclosing(events), writer:
                async for event in events:
                    if isinstance(event, Transcript):
                        return event
                    writer.add(event)
        raise AssertionError("the last event is a Transcript")

    async def _give_up(self, claim: Claim, error: Exception) -> None:
        """Fail the job, or leave it for another attempt."""
        jobs, job, now = self._jobs, claim.job, time.time()
        failure = _describe(error)
        if isinstance(error, RequestError) or job.attempts >= MAX_ATTEMPTS:
            expires_at = now + jobs.retention_s
            if await jobs.call(jobs.store.fail, job.id, claim.token, now, failure, expires_at=expires_at):
                await jobs.call(jobs.files.delete_audio, job.id)
            outcome = "failed"
        else:
            not_before = now + self._times.retry_delays_s[job.attempts - 1]
            await jobs.call(jobs.store.retry, job.id, claim.token, not_before, failure)
            outcome = "retried"
        metrics.JOB_ATTEMPTS.labels(outcome).inc()
        log.warning("job attempt failed", outcome=outcome, code=failure.code, reason=failure.message)


class _SegmentWriter:
    """Writes segments to the store as they become known, in one transaction for all that are new."""

    def __init__(self, jobs: Jobs, claim: Claim, resume_key: str, flush_s: float) -> None:
        self._jobs = jobs
        self._claim = claim
        self._resume_key = resume_key
        self._flush_s = flush_s
        self._new: list[Segment] = []
        self._arrived = asyncio.Event()
        self._audio_s_total = claim.job.audio_s_total

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._write_forever())

    async def __aexit__(self, *_: object) -> None:
        await tasks.cancel([self._task])

    def note_length(self, audio_s: float) -> None:
        self._audio_s_total = audio_s

    def add(self, segment: Segment) -> None:
        """Queue a segment. Raises _LeaseLost, Unavailable: earlier ones could not be written."""
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
            is_held = await self._jobs.call(
                self._jobs.store.store_segments,
                self._claim.job.id,
                self._claim.token,
                new[0].id,
                [codec.encode_segment(segment) for segment in new],
                resume_key=self._resume_key,
                audio_s_done=new[-1].end,
                audio_s_total=self._audio_s_total,
            )
            if not is_held:
                raise _LeaseLost


def _resume_key(options: DecodingOptions, engine: SlotEngine) -> str:
    """Return a hash of everything that decides how a recording is cut into windows, and what is decoded in them."""
    facts, settings = engine.loaded_model.facts, engine.settings
    depends_on = (
        __version__, options, facts.name, facts.compute_type, facts.device.kind,
        settings.encoder_context, settings.encoder_margin_s, settings.chunk_length_s, settings.block_length_s,
    )  # fmt: skip
    return hashlib.sha256(repr(depends_on).encode()).hexdigest()


def _describe(error: Exception) -> JobError:
    if isinstance(error, AsrError):
        return JobError(error.code, error.message)
    log.error("unexpected error", exc_info=error)
    return JobError("internal_error", "Unexpected error. The service's log has the details.")
