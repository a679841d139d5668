"""The directory of the jobs, and what the sweeper does in it."""

import io
import os
import time

import pytest

from asr_service.engine.request_options import RequestOptions
from asr_service.errors import ConfigurationError
from asr_service.jobs.records import JobSpec
from asr_service.jobs.service import Jobs, open_jobs
from asr_service.jobs.sweeper import Sweeper
from asr_service.jobs.times import RunnerTimes
from asr_service.settings import load_settings


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


async def test_the_sweeper_deletes_recordings_that_no_job_needs(tmp_path):
    """A process that was killed may leave one. Those of waiting jobs and of uploads in progress stay."""
    jobs = opened(tmp_path)
    created = await jobs.submit("", JobSpec(RequestOptions()), io.BytesIO(b"sound"))
    for name in ("job_lost", "job_uploading"):
        jobs.files.store_audio(name, io.BytesIO(b"sound"))
    then = time.time() - 10_000
    for name in ("job_lost", created.job.id):
        os.utime(tmp_path / "jobs" / "files" / f"{name}.audio", (then, then))
    Sweeper(jobs, RunnerTimes()).sweep(with_files=True)
    jobs.close()
    left = {path.name for path in (tmp_path / "jobs" / "files").iterdir()}
    assert left == {"job_uploading.audio", f"{created.job.id}.audio"}
