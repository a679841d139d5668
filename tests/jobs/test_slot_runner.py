"""How many jobs a slot claims, and when."""

import asyncio
import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr_service.engine.request_options import RequestOptions
from asr_service.errors import Unavailable
from asr_service.jobs.records import JobSpec, JobStatus, OwnerLimits
from asr_service.jobs.running.slot_runner import SlotRunner
from asr_service.jobs.service import Jobs
from asr_service.jobs.stores.directory import DirectoryFiles
from asr_service.jobs.stores.sqlite import SqliteJobStore
from jobs.test_attempts import TIMES, Writes
from waiting import until


class Idle(Writes):
    """A slot with room for eight jobs."""

    def has_room(self, n_clips: int, n_long: int) -> bool:
        return n_clips + n_long < 8


def jobs_with(store: Any, directory: Path) -> Jobs:
    return Jobs(store, DirectoryFiles(directory), limits=OwnerLimits(10, 10**9), retention_s=60)


async def test_clips_are_claimed_at_once_and_long_recordings_one_by_one(tmp_path: Path) -> None:
    """A long recording fills the calls of the model by itself, so another slot may take the next one."""
    jobs = jobs_with(SqliteJobStore(tmp_path / "jobs.sqlite3"), tmp_path)
    for audio_s in (None, 10.0, 3600.0, 3600.0):
        await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"), audio_s=audio_s)
    executor: Any = Idle()
    runner = SlotRunner(executor, 0, jobs, replace(TIMES, poll_s=1000))
    runner.start()

    def running() -> int:
        return jobs.store.counts().by_status[JobStatus.RUNNING]

    try:
        await asyncio.to_thread(until, lambda: running() == 3)
        executor.may_end.set()
        await asyncio.to_thread(until, lambda: not running())
        assert jobs.store.counts().by_status[JobStatus.QUEUED] == 1, "it waits for the next poll"
    finally:
        await runner.close()
        jobs.close()


class Hanging:
    """A store whose next claim, or whose next return of a job, hangs and then fails."""

    def __init__(self, store: SqliteJobStore, method: str) -> None:
        self._store = store
        self._method = method
        self.begun, self.may_fail = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            return self._fail
        return getattr(self._store, name)

    def claim(self, *given: Any) -> Any:
        self.begun.set()
        self.may_fail.wait(20)
        if self._method == "claim":
            raise Unavailable("It is down.")
        return self._store.claim(*given)

    def _fail(self, *_: object) -> None:
        raise Unavailable("It is down.")


@pytest.mark.parametrize("method", ["claim", "give_back"])
async def test_a_drain_ends_although_the_records_cannot_be_used(tmp_path: Path, method: str) -> None:
    """Otherwise the slot would go on claiming until it is killed, and all its jobs would lose an attempt."""
    store = Hanging(SqliteJobStore(tmp_path / "jobs.sqlite3"), method)
    jobs = jobs_with(store, tmp_path)
    await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))
    executor: Any = Idle()
    runner = SlotRunner(executor, 0, jobs, TIMES)
    runner.start()
    await asyncio.to_thread(store.begun.wait)
    closing = asyncio.create_task(runner.close())
    await asyncio.sleep(0.01)
    store.may_fail.set()
    async with asyncio.timeout(60):
        await closing
    assert jobs.closing.is_set()
    jobs.close()
