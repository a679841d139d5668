"""How many jobs a slot claims, and when."""

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr_service.engine.request_options import RequestOptions
from asr_service.jobs.records import JobSpec, JobStatus, OwnerLimits
from asr_service.jobs.running.slot_runner import SlotRunner
from asr_service.jobs.service import Jobs
from asr_service.jobs.stores.directory import DirectoryFiles
from asr_service.jobs.stores.sqlite import SqliteJobStore
from jobs.test_attempts import TIMES, Writes
from waiting import until


class Idle(Writes):
    """A slot with room for eight jobs."""

    n_useful = 8


async def test_clips_are_claimed_at_once_and_long_recordings_one_by_one(tmp_path: Path) -> None:
    """A long recording fills the calls of the model by itself, so another slot may take the next one."""
    jobs = Jobs(
        SqliteJobStore(tmp_path / "jobs.sqlite3"),
        DirectoryFiles(tmp_path),
        limits=OwnerLimits(10, 10**9),
        retention_s=60,
    )
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
