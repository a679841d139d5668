"""`asr-service worker` without what it needs. tests/jobs/test_workers.py has the workers that run."""

import re
import socket
import sys
from typing import cast

import pytest

from asr_service.api.jobs.background import open_notifier
from asr_service.errors import ConfigurationError
from asr_service.jobs.cluster.worker import run_worker
from asr_service.jobs.service import Jobs
from asr_service.jobs.times import RunnerTimes
from asr_service.settings import load_settings
from cli.test_main import run


def test_a_missing_setting_ends_it_with_78():
    """The message is one line, and names the setting."""
    result = run("worker", ASR_SERVICE_URL="http://127.0.0.1:8000")
    assert (result.returncode, result.stdout) == (78, "")
    assert result.stderr.count("\n") == 1
    assert "ASR_JOBS_URL" in result.stderr


def test_it_needs_the_address_of_services(tmp_path):
    """A URL or a socket."""
    given = {"jobs_url": "redis://127.0.0.1:1", "jobs_files": str(tmp_path)}
    with pytest.raises(ConfigurationError, match="ASR_SERVICE_URL"):
        run_worker(load_settings({}, **given))
    for address in (
        "127.0.0.1:8000",
        "unix:run/slot.sock",
        "http://a,b",
        "http://a:8_0",
        "http://a:99999",
        "http://a:0",
    ):
        with pytest.raises(ConfigurationError, match="neither a URL"):
            load_settings({"ASR_SERVICE_URL": address})
    both = "https://asr.example.com, unix:/run/asr-service/slot-0.sock"
    assert load_settings({"ASR_SERVICE_URL": both}).service_url == both


def test_a_port_of_its_metrics_that_is_in_use_is_a_wrong_setting(tmp_path):
    """So systemd does not start it again and again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        given = {"jobs_url": "redis://127.0.0.1:1", "jobs_files": str(tmp_path), "service_url": "http://127.0.0.1:1"}
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}: Address already in use") as refused:
            run_worker(load_settings({}, worker_port=port, **given))
    assert refused.value.param == "ASR_WORKER_PORT"


@pytest.mark.parametrize(("missing", "hint"), [(None, "Set ASR_JOBS_URL"), ("celery", "asr-service[cluster]")])
def test_a_service_needs_the_broker_of_its_workers(missing, hint, tmp_path, monkeypatch):
    """The message says what to set, or what to install."""
    given = {"jobs_url": "redis://localhost:1"} if missing else {}
    settings, no_jobs = load_settings({}, state_dir=tmp_path, jobs_runner="workers", **given), cast("Jobs", None)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
        monkeypatch.delitem(sys.modules, "asr_service.jobs.cluster.broker", raising=False)
    with pytest.raises(ConfigurationError, match=re.escape(hint)) as refused:
        open_notifier(settings, no_jobs, RunnerTimes())
    assert refused.value.param == "ASR_JOBS_RUNNER"
