"""The directory of the jobs, and what the sweeper does in it."""

import asyncio
import contextlib
import io
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from asr_service.api.jobs.events import job_events
from asr_service.engine.request_options import RequestOptions
from asr_service.errors import ConfigurationError, NoTranscript, Unavailable
from asr_service.jobs import sweeper
from asr_service.jobs.records import JobResult, JobSpec, JobStatus, NewJob, OwnerLimits, new_job_id
from asr_service.jobs.service import Jobs, open_jobs
from asr_service.jobs.store import JobStore
from asr_service.jobs.stores.directory import DirectoryFiles
from asr_service.jobs.sweeper import Sweeper
from asr_service.jobs.times import RunnerTimes
from asr_service.settings import load_settings
from waiting import until, until_async

SETTLED = RunnerTimes(settle_s=0.0)


def opened(directory: os.PathLike[str], **settings: object) -> Jobs:
    jobs = open_jobs(load_settings({}, state_dir=directory, **settings))
    assert jobs is not None
    return jobs


def test_without_a_directory_there_are_no_jobs():
    """Nothing is written anywhere."""
    assert open_jobs(load_settings({})) is None


def test_a_directory_that_cannot_be_used_is_an_error_of_the_settings(tmp_path):
    """The message names the setting."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="ASR_STATE_DIR"):
        open_jobs(load_settings({}, state_dir=tmp_path / "file"))


def test_only_the_service_can_read_recordings(tmp_path):
    """Other users of the machine cannot enter the directory."""
    jobs = opened(tmp_path / "state")
    jobs.close()
    assert (tmp_path / "state" / "jobs").stat().st_mode & 0o077 == 0


def store_recording(jobs: Jobs, tmp_path: Path, job_id: str, age_s: float) -> None:
    jobs.files.store_audio(job_id, io.BytesIO(b"sound"))
    then = time.time() - age_s
    os.utime(tmp_path / "jobs" / "files" / f"{job_id}.audio", (then, then))


async def test_the_sweeper_deletes_recordings_that_no_job_needs(tmp_path):
    """Of jobs that have ended, and those without a record, which a killed process left.

    The latter are kept for a day: if a Redis has lost its records, they may be restored. Those of waiting jobs and of
    uploads in progress stay.
    """
    jobs = opened(tmp_path)
    waiting = await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))
    ended = await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))
    await jobs.remove("", ended.job.id)
    for job_id in (waiting.job.id, ended.job.id, "job_unknown"):
        store_recording(jobs, tmp_path, job_id, 10_000)
    store_recording(jobs, tmp_path, "job_lost", 100_000)
    store_recording(jobs, tmp_path, "job_uploading", 1)
    Sweeper(jobs, SETTLED).sweep_files(with_recordings=True)
    jobs.close()
    left = {path.stem for path in (tmp_path / "jobs" / "files").iterdir()}
    assert left == {"job_uploading", "job_unknown", waiting.job.id}


async def test_the_sweeper_deletes_transcripts_that_no_job_has(tmp_path):
    """Those whose record was lost, once they would have expired, and those of jobs that were cancelled meanwhile.

    The transcript of a job that has succeeded stays until the job expires, also if its record is damaged.
    """
    jobs = opened(tmp_path, jobs_retention_s=200_000)
    ids = [(await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))).job.id for _ in range(4)]
    waiting, damaged, succeeded, cancelled = ids
    for job_id in (damaged, succeeded):
        new = NewJob(f"{job_id}s", "", JobSpec(RequestOptions()), 0, 1.0, None, JobResult(1.0, 5, time.time() + 1000))
        jobs.store.create(new, OwnerLimits(10, 10**9), time.time())
    damaged, succeeded = f"{damaged}s", f"{succeeded}s"
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs" / "jobs.sqlite3", isolation_level=None)) as db:
        db.execute("UPDATE jobs SET spec = 'damaged' WHERE id = ?", (damaged,))
    await jobs.remove("", cancelled)
    for job_id, age_s in (
        (waiting, 300_000), (damaged, 300_000), (succeeded, 300_000), (cancelled, 300_000),
        ("job_lost", 300_000), ("job_young", 100_000),
    ):  # fmt: skip
        jobs.files.store_transcript(job_id, b"words")
        then = time.time() - age_s
        os.utime(tmp_path / "jobs" / "files" / f"{job_id}.transcript.json", (then, then))
    Sweeper(jobs, SETTLED).sweep_files(with_transcripts=True)
    left = {path.name.partition(".")[0] for path in (tmp_path / "jobs" / "files").glob("*.json")}
    jobs.close()
    assert left == {waiting, damaged, succeeded, "job_young"}


async def test_files_that_cannot_be_deleted_are_deleted_later(tmp_path, monkeypatch):
    """The records have expired, so the store does not name these jobs again."""
    jobs = opened(tmp_path, jobs_retention_s=60)
    created = await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))
    await jobs.remove("", created.job.id)
    jobs.files.store_transcript(created.job.id, b"words")
    now = time.time() + 100
    monkeypatch.setattr(sweeper, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    tried = Sweeper(jobs, SETTLED)
    tried.sweep_records()
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryFiles, "delete", lambda *_: (_ for _ in ()).throw(Unavailable("It is down.")))
        with pytest.raises(Unavailable):
            tried.sweep_files()
    tried.sweep_files()
    jobs.close()
    assert not list((tmp_path / "jobs" / "files").iterdir())


async def test_one_file_that_cannot_be_deleted_is_not_in_the_way_of_others(tmp_path, monkeypatch):
    """A directory in its place, a wrong owner or a lock of the object store may keep it."""
    jobs = opened(tmp_path, jobs_retention_s=60)
    ids = [(await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))).job.id for _ in range(9)]
    for job_id in ids:
        await jobs.remove("", job_id)
        jobs.files.store_transcript(job_id, b"words")
        store_recording(jobs, tmp_path, job_id, 10_000)
    now = time.time() + 100
    monkeypatch.setattr(sweeper, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    tried = Sweeper(jobs, SETTLED)
    tried.sweep_records()
    files = tmp_path / "jobs" / "files"
    for blocked in (files / f"{ids[0]}.audio", files / f"{ids[1]}.transcript.json"):
        blocked.unlink()
        (blocked / "child").mkdir(parents=True)
    store_recording(jobs, tmp_path, "job_lost", 100_000)
    with pytest.raises(Unavailable):
        tried.sweep_files(with_recordings=True)
    jobs.close()
    assert {path.name.partition(".")[0] for path in files.iterdir()} == set(ids[:2])


async def test_lapsed_jobs_are_requeued_while_all_transfers_of_files_hang(tmp_path):
    """As those of an object store that does not answer."""
    jobs = opened(tmp_path)
    created = await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))
    assert jobs.store.claim("a", time.time(), 0.0) is not None
    release = threading.Event()
    transfers = [asyncio.create_task(jobs.call_files(release.wait, 60)) for _ in range(20)]
    running = Sweeper(jobs, RunnerTimes(sweep_s=0.01))
    running.start()
    try:
        await asyncio.to_thread(until, lambda: jobs.store.counts().by_status[JobStatus.QUEUED] == 1, 10)
        async with asyncio.timeout(30):
            assert await jobs.segments(created.job.id, 0) == ()
    finally:
        release.set()
        await asyncio.gather(*transfers)
        await running.close()
        jobs.close()


async def test_running_jobs_keep_their_runners_when_the_clock_is_set(tmp_path, monkeypatch):
    """Their leases seem to have lapsed, until the runners renew them. Those of lost runners lapse a little later."""
    jobs = opened(tmp_path)
    for _ in range(2):
        await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))
    clock = SimpleNamespace(at=time.time(), monotonic_at=100.0)
    monkeypatch.setattr(sweeper, "time", SimpleNamespace(time=lambda: clock.at, monotonic=lambda: clock.monotonic_at))
    tried = Sweeper(jobs, RunnerTimes(lease_s=15.0))
    alive, lost = (jobs.store.claim("a", clock.at, 15.0) for _ in range(2))
    assert alive is not None
    assert lost is not None

    def sweep_after(seconds: float, step_s: float = 0.0) -> None:
        clock.at += seconds + step_s
        clock.monotonic_at += seconds
        tried.sweep_records()

    sweep_after(5.0, step_s=3600.0)
    assert jobs.store.holds(alive.job.id, alive.token)
    jobs.store.renew(alive.job.id, alive.token, clock.at + 100)
    sweep_after(10.0)
    assert jobs.store.holds(lost.job.id, lost.token)
    sweep_after(5.1)
    assert jobs.store.holds(alive.job.id, alive.token)
    assert not jobs.store.holds(lost.job.id, lost.token)
    jobs.close()


async def test_a_transcript_that_cannot_be_read_is_no_transcript(tmp_path):
    """It is damaged, or a newer version has written it. The job itself can be listed and deleted."""
    jobs = opened(tmp_path)
    new = NewJob(new_job_id(), "", JobSpec(RequestOptions()), 0, result=JobResult(1.0, 2, time.time() + 60))
    jobs.store.create(new, OwnerLimits(10, 10**9), time.time())
    for data in (b'{"version": 2, "transcript": {}}', b"\xff"):
        jobs.files.store_transcript(new.id, data)
        with pytest.raises(NoTranscript, match="cannot be read"):
            await jobs.transcript("", new.id)
        assert await jobs.segments(new.id, 0) == ()
    assert await jobs.remove("", new.id) is None
    jobs.close()


class Counting:
    """A store that counts how often each method is called."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.n_calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.n_calls[name] += 1
        return getattr(self._store, name)


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[Any, str]]:
    """A job that has waited for a minute, and the jobs, whose store counts its calls."""
    jobs: Any = opened(tmp_path)
    now = time.time()
    new = NewJob(new_job_id(now), "", JobSpec(RequestOptions(), webhook_url="https://example.com/"), 1)
    jobs.store.create(new, OwnerLimits(10, 10**9), now - 60)
    jobs.store = Counting(jobs.store)
    yield jobs, new.id
    jobs.close()


async def test_a_client_that_waits_for_a_waiting_job_costs_little(waiting):
    """Thousands may wait. A drain does not have to wait for them."""
    jobs, job_id = waiting
    assert (await jobs.wait("", job_id, 0.5)).status is JobStatus.QUEUED
    assert jobs.store.n_calls["get"] == 2
    client = asyncio.create_task(jobs.wait("", job_id, 20.0))
    await until_async(lambda: jobs.store.n_calls["get"] >= 3)
    await asyncio.sleep(0.1)
    jobs.release_clients()
    async with asyncio.timeout(10):
        await client


async def test_the_events_of_a_job_cost_little(waiting):
    """Its segments and its webhooks are read when they may have changed."""
    jobs, job_id = waiting
    jobs.store.claim("a", time.time(), 60.0)
    events = job_events(jobs, "", job_id, 0, "")
    assert '"running"' in await anext(events)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.7):
            await anext(events)
    assert jobs.store.n_calls["get"] > 2
    assert (jobs.store.n_calls["segments"], jobs.store.n_calls["deliveries"]) == (1, 0)


@pytest.mark.parametrize("step_s", [-1e6, 1e6])
async def test_nothing_is_deleted_for_an_hour_after_the_clock_was_set(tmp_path, monkeypatch, step_s):
    """A wrong clock can be corrected in this time. The first minutes after the start are the same."""
    jobs = opened(tmp_path, jobs_retention_s=3800)
    clock = SimpleNamespace(at=time.time(), monotonic_at=100.0)
    monkeypatch.setattr(sweeper, "time", SimpleNamespace(time=lambda: clock.at, monotonic=lambda: clock.monotonic_at))
    created = await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))
    await jobs.remove("", created.job.id)
    tried = Sweeper(jobs, RunnerTimes())

    def left_after(seconds: float, step_s: float = 0.0) -> set[str]:
        clock.at += seconds + step_s
        clock.monotonic_at += seconds
        tried.sweep_records()
        tried.sweep_files(with_recordings=True)
        job = jobs.store.get(created.job.id)
        assert job is not None
        return {job.status} | {path.stem for path in (tmp_path / "jobs" / "files").glob("*.audio")}

    store_recording(jobs, tmp_path, "job_lost", 100_000)
    kept = {JobStatus.CANCELLED, "job_lost"}
    assert left_after(200.0) == kept
    assert left_after(1.0, step_s) == kept
    assert left_after(3500.0) == kept
    assert left_after(1.0, -step_s) == kept
    assert left_after(3500.0) == kept
    assert left_after(101.0) == {JobStatus.EXPIRED}
    jobs.close()
