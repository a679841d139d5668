"""A server with jobs."""

from collections.abc import Iterator

import pytest

from api.conftest import fresh
from api.jobs.client import JobClient
from api.live import Live, serving
from asr_service.jobs.times import RunnerTimes

TIMES = RunnerTimes(lease_s=1.0, poll_s=0.05, flush_s=0.01, retry_delays_s=(1.0, 1.0), sweep_s=0.1, settle_s=0.0)
"""Times at which tests need not wait."""
MAX_AUDIO_S = 60


@pytest.fixture(scope="module")
def _with_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(job_times=TIMES, max_audio_s=MAX_AUDIO_S, state_dir=tmp_path_factory.mktemp("state")) as live:
        yield live


@pytest.fixture
def jobs(_with_jobs: Live) -> Iterator[JobClient]:
    for live in fresh(_with_jobs):
        yield JobClient(live)
