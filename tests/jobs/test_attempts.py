"""An attempt at a job while its stores fail, and after another runner has ended the job."""

import asyncio
import io
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from structlog.testing import capture_logs

from asr_service.engine.request_options import RequestOptions
from asr_service.errors import JobNotFound, Unavailable
from asr_service.jobs.files import FileMissing, JobFiles
from asr_service.jobs.records import MAX_ATTEMPTS, Job, JobError, JobSpec, JobStatus, OwnerLimits
from asr_service.jobs.running.attempts import Attempts
from asr_service.jobs.running.executor import Event, Started, Work
from asr_service.jobs.service import Jobs
from asr_service.jobs.store import JobStore, OutcomeUnknown
from asr_service.jobs.stores.directory import DirectoryFiles
from asr_service.jobs.stores.sqlite import SqliteJobStore
from asr_service.jobs.times import RunnerTimes
from asr_service.transcript import Segment, Transcript, codec
from jobs.test_wire import SEGMENT, TRANSCRIPT
from waiting import until

TIMES = RunnerTimes(lease_s=5.0, poll_s=0.01, flush_s=0.01, retry_delays_s=(0.01, 0.01))


class Writes:
    """An executor that yields one segment, and the transcript when it may."""

    def __init__(self, transcript: Transcript = TRANSCRIPT) -> None:
        self.may_end = asyncio.Event()
        self._transcript = transcript
        self.earlier: tuple[Segment, ...] = ()

    async def transcribe(self, work: Work, _file: BinaryIO) -> AsyncGenerator[Event]:
        self.earlier = work.earlier
        yield Started("key")
        yield SEGMENT
        await self.may_end.wait()
        yield self._transcript


class Failing:
    """A store of which one method raises Unavailable, or another error of that kind, a number of times."""

    def __init__(self, store: object, method: str, n_failures: int, error: type[Unavailable] = Unavailable) -> None:
        self._store = store
        self._method = method
        self._error = error
        self.n_failures = n_failures

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self.n_failures > 0:
            return self._fail
        return getattr(self._store, name)

    def _fail(self, *_: object, **__: object) -> None:
        self.n_failures -= 1
        raise self._error("It is down.")


class CancelledAtTheEnd:
    """A store in which a job is cancelled just before it succeeds."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def succeed(self, job_id: str, token: str, now: float, **result: Any) -> bool:
        assert self._store.cancel(job_id, now, now + 3600) is not None
        return self._store.succeed(job_id, token, now, **result)


Open = Callable[..., Jobs]


@pytest.fixture
async def open_jobs(tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[Jobs] = []

    def open_with(method: str = "", n_failures: int = 0) -> Jobs:
        store: Any = Failing(SqliteJobStore(tmp_path / "jobs.sqlite3"), method, n_failures)
        files: Any = Failing(DirectoryFiles(tmp_path), method, n_failures)
        opened.append(Jobs(store, files, limits=OwnerLimits(10, 10**9), retention_s=60))
        return opened[-1]

    yield open_with
    for jobs in opened:
        jobs.close()


async def submit(jobs: Jobs) -> str:
    return (await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))).job.id


async def attempt(jobs: Jobs, executor: Writes, times: RunnerTimes = TIMES) -> None:
    async with asyncio.timeout(60):
        while (attempt := await Attempts(jobs, executor, times).claim(secrets.token_hex(4))) is None:  # noqa: ASYNC110 - its time comes
            await asyncio.sleep(0.01)
    await attempt.task


async def job_of(jobs: Jobs, job_id: str) -> Job:
    return await jobs.get("", job_id)


@pytest.mark.parametrize("method", ["store_segments", "succeed"])
async def test_a_short_outage_of_the_records_costs_no_attempt(open_jobs, method):
    """Redis may restart while a job runs."""
    jobs = open_jobs(method, 3)
    job_id = await submit(jobs)
    executor = Writes()
    running = asyncio.create_task(attempt(jobs, executor))
    if method == "store_segments":
        await asyncio.to_thread(until, lambda: jobs.store.segments(job_id))
    executor.may_end.set()
    await running
    job = await job_of(jobs, job_id)
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)
    assert (await jobs.transcript("", job_id)).text == TRANSCRIPT.text


@pytest.mark.parametrize("method", ["open_audio", "store_transcript"])
async def test_an_outage_of_the_files_postpones_the_job(open_jobs, method):
    """It does not fail, however often its recording cannot be read or its transcript not be stored."""
    jobs = open_jobs(method, 4)
    job_id = await submit(jobs)
    for _ in range(4):
        executor = Writes()
        executor.may_end.set()
        await attempt(jobs, executor)
        job = await job_of(jobs, job_id)
        assert (job.status, job.attempts) == (JobStatus.QUEUED, 0)
    executor = Writes()
    executor.may_end.set()
    await attempt(jobs, executor)
    assert (await job_of(jobs, job_id)).status is JobStatus.SUCCEEDED


async def test_a_recording_that_can_never_be_read_takes_little_time_from_others(open_jobs):
    """It is tried later and later, and its caller sees why."""
    jobs = open_jobs("open_audio", 1)
    job_id = await submit(jobs)
    first = jobs.store.claim("a", time.time() - 100, 5.0)
    jobs.store.give_back(job_id, first.token)
    await attempt(jobs, Writes())
    job = await job_of(jobs, job_id)
    assert (job.status, job.attempts, job.error) == (JobStatus.QUEUED, 0, JobError("unavailable", "It is down."))
    assert jobs.store.claim("b", time.time() + 40, 5.0) is None
    assert jobs.store.claim("b", time.time() + 60, 5.0).job.id == job_id


async def test_a_missing_recording_is_looked_for_by_another_runner(open_jobs):
    """The directory may not be mounted on this machine. The job fails after its last attempt."""
    jobs = open_jobs()
    job_id = await submit(jobs)
    jobs.files.delete_audio(job_id)
    for status in (JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.FAILED):
        await attempt(jobs, Writes())
        job = await job_of(jobs, job_id)
        assert (job.status, job.error and job.error.code) == (status, "recording_missing")


@pytest.mark.parametrize(("method", "n_failures"), [("segments", 1), ("succeed", 1000)])
async def test_an_outage_of_the_records_does_not_fail_the_job(open_jobs, method, n_failures):
    """Not even in its last attempt: the recording is not at fault."""
    jobs = open_jobs(method, n_failures)
    job_id = await submit(jobs)
    for _ in range(MAX_ATTEMPTS - 1):
        claimed = jobs.store.claim("a", time.time(), 5.0)
        jobs.store.store_segments(
            job_id, claimed.token, 0, [codec.encode_segment(SEGMENT)],
            resume_key="key", audio_s_done=1.0, audio_s_total=2.0,
        )  # fmt: skip
        jobs.store.retry(job_id, claimed.token, 0.0, JobError("inference_failed", "It failed."))
    executor = Writes()
    executor.may_end.set()
    await attempt(jobs, executor, replace(TIMES, lease_s=0.1))
    job = await job_of(jobs, job_id)
    assert (job.status, job.attempts) == (JobStatus.QUEUED, MAX_ATTEMPTS - 1)
    jobs.store.n_failures = 0
    await attempt(jobs, executor)
    assert (await job_of(jobs, job_id)).status is JobStatus.SUCCEEDED


async def test_a_recording_that_cannot_be_deleted_does_not_matter(open_jobs):
    """The job has succeeded; the sweeper deletes the recording later."""
    jobs = open_jobs("delete_audio", 1)
    job_id = await submit(jobs)
    executor = Writes()
    executor.may_end.set()
    with capture_logs() as lines:
        await attempt(jobs, executor)
    assert (await job_of(jobs, job_id)).status is JobStatus.SUCCEEDED
    assert "job attempt failed" not in {line["event"] for line in lines}


async def test_a_job_whose_files_cannot_be_deleted_is_deleted_later(open_jobs):
    """The caller can repeat its request: the record is deleted last."""
    jobs = open_jobs("delete", 1)
    jobs.store.n_failures = 0
    job_id = await submit(jobs)
    executor = Writes()
    executor.may_end.set()
    await attempt(jobs, executor)
    with pytest.raises(Unavailable):
        await jobs.remove("", job_id)
    await jobs.remove("", job_id)
    with pytest.raises(FileMissing):
        jobs.files.load_transcript(job_id)
    with pytest.raises(JobNotFound):
        await job_of(jobs, job_id)


async def test_a_late_runner_leaves_the_transcript_of_its_successor(open_jobs):
    """Its lease has lapsed, and another runner has ended the job."""
    jobs = open_jobs()
    job_id = await submit(jobs)
    late = Writes(replace(TRANSCRIPT, text="another"))
    running = asyncio.create_task(attempt(jobs, late, replace(TIMES, poll_s=60.0)))  # it does not notice
    await asyncio.to_thread(until, lambda: jobs.store.segments(job_id))
    _let_lapse(jobs.store)
    successor = Writes()
    successor.may_end.set()
    await attempt(jobs, successor)
    assert (await job_of(jobs, job_id)).status is JobStatus.SUCCEEDED
    late.may_end.set()
    await running
    assert (await jobs.transcript("", job_id)).text == TRANSCRIPT.text


async def test_a_transcript_is_deleted_if_the_job_was_cancelled_while_it_was_stored(open_jobs):
    """Nothing else would delete it before a sweep of all transcripts."""
    jobs = open_jobs()
    job_id = await submit(jobs)
    jobs.store = CancelledAtTheEnd(jobs.store)
    executor = Writes()
    executor.may_end.set()
    await attempt(jobs, executor)
    assert (await job_of(jobs, job_id)).status is JobStatus.CANCELLED
    with pytest.raises(FileMissing):
        jobs.files.load_transcript(job_id)


def _let_lapse(store: JobStore) -> None:
    assert store.requeue_lapsed(1e12, retry_delays_s=(-1e12, -1e12), expires_at=1e12)


async def test_a_recording_is_kept_if_the_job_may_exist(open_jobs):
    """The answer of the store was lost, and it does not say whether there is a job: the sweeper decides later."""
    jobs = open_jobs("create", 1)
    jobs.store = Failing(jobs.store, "get", 1)
    with pytest.raises(Unavailable):
        await submit(jobs)
    assert len(_recordings(jobs.files)) == 1
    with pytest.raises(Unavailable):
        await submit(open_jobs("create", 1))
    assert len(_recordings(jobs.files)) == 1, "there is no such job: its recording is deleted"
    late = open_jobs()
    late.store = Failing(late.store, "create", 1, OutcomeUnknown)
    with pytest.raises(Unavailable):
        await submit(late)
    assert len(_recordings(jobs.files)) == 2, "there is no such job yet"


def _recordings(files: JobFiles) -> Any:
    return files.old_audio(-5)


@pytest.mark.parametrize("damaged", ["{", codec.encode_segment(replace(SEGMENT, id=7))])
async def test_a_job_continues_before_a_damaged_segment(open_jobs, damaged):
    """Its attempts would all fail, since the segment stays. Its events are those that can be read."""
    jobs = open_jobs()
    job_id = await submit(jobs)
    first, third = SEGMENT, replace(SEGMENT, id=2)
    claimed = jobs.store.claim("a", time.time(), 5.0)
    stored = [codec.encode_segment(first), damaged, codec.encode_segment(third)]
    jobs.store.store_segments(
        job_id, claimed.token, 0, stored, resume_key="key", audio_s_done=1.0, audio_s_total=2.0
    )  # fmt: skip
    assert [each.id for each in await jobs.segments(job_id, 0)] == [0]
    jobs.store.give_back(job_id, claimed.token)
    executor = Writes()
    executor.may_end.set()
    await attempt(jobs, executor)
    assert [each.id for each in executor.earlier] == [0]
    assert (await job_of(jobs, job_id)).status is JobStatus.SUCCEEDED
