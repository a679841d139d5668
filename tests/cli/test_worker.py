"""`asr-service worker` without what it needs. tests/jobs/test_workers.py has the workers that run."""

import pytest

from cli.test_main import run


@pytest.mark.parametrize(
    ("environ", "param"),
    [
        ({"ASR_SERVICE_URL": "http://127.0.0.1:8000"}, "ASR_JOBS_URL"),
        ({"ASR_JOBS_URL": "redis://127.0.0.1:1", "ASR_JOBS_FILES": "/tmp"}, "ASR_SERVICE_URL"),
        ({"ASR_SERVICE_URL": "127.0.0.1:8000"}, "ASR_SERVICE_URL"),
    ],
)
def test_a_missing_or_invalid_setting_ends_it_with_78(environ, param):
    """The message is one line, and names the setting."""
    result = run("worker", **environ)
    assert (result.returncode, result.stdout) == (78, "")
    assert result.stderr.count("\n") == 1
    assert param in result.stderr
