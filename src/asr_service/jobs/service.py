"""The jobs of a service: their records and their files together."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import BinaryIO, Final, TypeVar
from weakref import WeakValueDictionary

import structlog

from asr_service import tasks
from asr_service.errors import JobExpired, JobNotFound, NoTranscript, Unavailable
from asr_service.jobs.files import FileMissing, JobFiles
from asr_service.jobs.records import (
    Delivery,
    Idempotency,
    Job,
    JobResult,
    JobSpec,
    JobStatus,
    NewJob,
    OwnerLimits,
    new_job_id,
)
from asr_service.jobs.store import Created, JobStore, OutcomeUnknown
from asr_service.jobs.stores.damage import read_segments
from asr_service.jobs.stores.opening import open_stores
from asr_service.settings import Settings
from asr_service.transcript import Segment, Transcript, codec

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

_RECORD_THREADS: Final = 8
_FILE_THREADS: Final = 8
_MIN_POLL_S: Final = 0.2
_MAX_POLL_S: Final = 2.0


class Jobs:
    """The operations of the API and of the runners on jobs.

    Used on one event loop; the store and the files are called in threads.
    """

    def __init__(self, store: JobStore, files: JobFiles, *, limits: OwnerLimits, retention_s: float) -> None:
        self.store = store
        self.files = files
        self.retention_s = retention_s
        self.submitted = asyncio.Event()
        """Set when this process has accepted a job."""
        self.closing = asyncio.Event()
        """Set by `release_clients`."""
        self._changed: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        """Set when this process has changed a job that is waited for."""
        self._limits = limits
        self._record_threads = ThreadPoolExecutor(_RECORD_THREADS, thread_name_prefix="jobs")
        self._file_threads = ThreadPoolExecutor(_FILE_THREADS, thread_name_prefix="job-files")

    async def call(self, function: Callable[..., Result], *args: object, **kwargs: object) -> Result:
        """Run a method of the store in a thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._record_threads, partial(function, *args, **kwargs)
        )

    async def call_files(self, function: Callable[..., Result], *args: object, **kwargs: object) -> Result:
        """Run a method of the files in a thread. Large recordings do not hold up the renewal of leases."""
        return await asyncio.get_running_loop().run_in_executor(self._file_threads, partial(function, *args, **kwargs))

    def close(self) -> None:
        self._record_threads.shutdown()
        self._file_threads.shutdown()
        self.store.close()

    async def submit(
        self,
        owner: str,
        spec: JobSpec,
        recording: BinaryIO,
        idempotency: Idempotency | None = None,
        audio_s: float | None = None,
        transcript: Transcript | None = None,
    ) -> Created:
        """Accept a job. When this returns, the job survives a power failure.

        `audio_s` is its estimated length. A job whose `transcript` is known has succeeded at once.

        Raises JobLimit, IdempotencyConflict. Raises Unavailable: it cannot be stored.
        """
        new = NewJob(new_job_id(), owner, spec, 0, audio_s, idempotency)
        created = await self.call_files(self._create, new, recording, transcript)
        log.info("job accepted", job_id=created.job.id, replayed=created.is_replayed)
        self.submitted.set()
        return created

    def _create(self, new: NewJob, recording: BinaryIO, transcript: Transcript | None) -> Created:
        if transcript is None:
            new = replace(new, audio_bytes=self.files.store_audio(new.id, recording))
        else:
            data = codec.encode(transcript).encode()
            self.files.store_transcript(new.id, data)
            new = replace(new, result=JobResult(transcript.duration, len(data), time.time() + self.retention_s))
        try:
            created = self._create_record(new)
        except OutcomeUnknown:  # if there is no job, the sweeper deletes the recording
            raise
        except BaseException:
            self.files.delete(new.id)
            raise
        if created.is_replayed:
            with contextlib.suppress(Unavailable):  # then the sweeper deletes the recording
                self.files.delete(new.id)
        return created

    def _create_record(self, new: NewJob) -> Created:
        """Create the record. If the store's answer was lost, look whether it exists. Raises OutcomeUnknown."""
        try:
            return self.store.create(new, self._limits, time.time())
        except Unavailable as error:
            try:
                job = self.store.get(new.id)
            except Unavailable:
                raise OutcomeUnknown(error.message) from error
            if job is None:  # after OutcomeUnknown, it may be created later
                raise
            return Created(job, is_replayed=False)

    async def check_limits(self, owner: str) -> None:
        """Raise JobLimit if the owner cannot have another job."""
        await self.call(self.store.check_limits, owner, self._limits)

    async def get(self, owner: str, job_id: str) -> Job:
        """Return a job. Raises JobNotFound: it does not exist, or it belongs to another owner."""
        job = await self.call(self.store.get, job_id)
        if job is None or job.owner != owner:
            raise JobNotFound(f"There is no job {job_id[:64]!r}.")
        return job

    async def wait(self, owner: str, job_id: str, wait_s: float) -> Job:
        """Return a job when it has ended, or after `wait_s`. Raises JobNotFound."""
        until = time.monotonic() + wait_s
        changed = self._changed.setdefault(job_id, asyncio.Event())
        while True:
            changed.clear()
            job = await self.get(owner, job_id)
            left_s = until - time.monotonic()
            if not job.is_open or left_s <= 0 or self.closing.is_set():
                return job
            await tasks.wait_for_event(changed, min(poll_interval_s(job), left_s))  # other processes may change it

    def note_change(self, job_id: str) -> None:
        """Wake the clients that wait for the job, which this process has changed."""
        if changed := self._changed.get(job_id):
            changed.set()

    def release_clients(self) -> None:
        """Let the clients that wait for jobs get their answers, because the slot drains."""
        self.closing.set()
        for changed in list(self._changed.values()):
            changed.set()

    async def pause(self, seconds: float) -> None:
        """Wait. Returns early when the slot drains."""
        await tasks.wait_for_event(self.closing, seconds)

    async def remove(self, owner: str, job_id: str) -> Job | None:
        """Cancel an open job and return it, or delete an ended one and return None. Raises JobNotFound."""
        await self.get(owner, job_id)
        now = time.time()
        cancelled = await self.call(self.store.cancel, job_id, now, now + self.retention_s)
        self.note_change(job_id)
        await self.call_files(self.files.delete, job_id)
        if cancelled is None:  # last, so that the caller can repeat this if a file cannot be deleted
            await self.call(self.store.delete, job_id)
        return cancelled

    async def segments(self, job_id: str, start: int) -> Sequence[Segment]:
        """Return the known segments of a job, from number `start` on. For an ended job, those of its transcript."""
        if stored := await self.call(self._stored_segments, job_id, start):
            return stored
        job = await self.call(self.store.get, job_id)
        if job is None or job.status is not JobStatus.SUCCEEDED:
            return ()
        return await self.call_files(self._final_segments, job_id, start)

    def _stored_segments(self, job_id: str, start: int) -> Sequence[Segment]:
        return read_segments(job_id, self.store.segments(job_id, start), start)

    def _final_segments(self, job_id: str, start: int) -> Sequence[Segment]:
        try:
            return codec.decode(self.files.load_transcript(job_id)).segments[start:]
        except (FileMissing, codec.TranscriptUnreadable):
            return ()

    async def deliveries(self, job: Job) -> Sequence[Delivery]:
        """Return the events of a job for its webhook. An open job has none."""
        if job.spec.webhook_url is None or job.is_open:
            return ()
        return await self.call(self.store.deliveries, job.id)

    async def transcript(self, owner: str, job_id: str) -> Transcript:
        """Return the transcript of a job that has succeeded.

        Raises JobNotFound, NoTranscript, JobExpired.
        """
        job = await self.get(owner, job_id)
        if job.status is JobStatus.EXPIRED:
            raise JobExpired("The transcript was deleted, because its retention time is over (ASR_JOBS_RETENTION_S).")
        if job.status is not JobStatus.SUCCEEDED:
            reason = f": {job.error.message}" if job.status is JobStatus.FAILED and job.error else "."
            raise NoTranscript(f"The job has no transcript. It is {job.status}{reason}")
        try:
            return await self.call_files(lambda: codec.decode(self.files.load_transcript(job_id)))
        except FileMissing as error:  # it expired or was deleted just now
            raise JobNotFound(f"There is no job {job_id[:64]!r}.") from error
        except codec.TranscriptUnreadable as error:
            log.error("a transcript cannot be read", job_id=job_id, reason=str(error))  # noqa: TRY400
            raise NoTranscript(
                f"The transcript of the job cannot be read: it is damaged, or of a newer version. {error}"
            ) from error


def poll_interval_s(job: Job) -> float:
    """Return the time until a job is read again for a client that waits for a change.

    A thousand clients may wait for jobs that wait for hours, so it grows with the age of a waiting job.
    """
    if job.status is not JobStatus.QUEUED:
        return _MIN_POLL_S
    return min(max((time.time() - job.created_at) / 8, _MIN_POLL_S), _MAX_POLL_S)


def open_jobs(settings: Settings) -> Jobs | None:
    """Open the jobs of the settings; None if the service keeps none.

    Raises ConfigurationError: settings contradict each other, or a directory or a URL cannot be used.
    """
    stores = open_stores(settings)
    if stores is None:
        return None
    limits = OwnerLimits(settings.jobs_max_waiting, settings.jobs_max_bytes, settings.jobs_max_kept)
    return Jobs(*stores, limits=limits, retention_s=settings.jobs_retention_s)
