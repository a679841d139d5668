"""The log of a process of this service."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import threading, warnings
from asr_service.logs import configure_logs, log_uncaught
configure_logs("info", "json")
log_uncaught()
warnings.warn("about\\nsomething", RuntimeWarning)
thread = threading.Thread(target=lambda: 1 / 0, name="worker-1")
thread.start()
thread.join()
"""


def test_uncaught_warnings_and_exceptions_are_json_lines():
    """A library's warning is one line, and so is an exception that ends a thread, with its traceback."""
    done = subprocess.run([sys.executable, "-W", "default", "-c", PROGRAM], capture_output=True, text=True, check=True)
    warning, end = map(json.loads, done.stderr.splitlines())
    assert (warning["level"], "about\nsomething" in warning["event"]) == ("warning", True)
    assert (end["level"], end["event"], end["thread"]) == ("critical", "uncaught exception in a thread", "worker-1")
    assert "ZeroDivisionError" in end["exception"]


FAILS_WITH_A_SECRET = """
import sys, structlog
from asr_service.logs import configure_logs

def fail(prompt):
    raise ValueError("broken")

configure_logs("info", sys.argv[1])
try:
    fail(sys.argv[2])
except ValueError:
    structlog.get_logger("x").exception("unexpected error")
"""


@pytest.mark.parametrize("fmt", ["json", "plain"])
def test_a_traceback_shows_no_values(fmt):
    """The frames of a failure contain prompts and transcripts. The log has their lines of code, but no variables."""
    command = [sys.executable, "-c", FAILS_WITH_A_SECRET, fmt, "Rosebud"]
    log = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    assert "in fail" in log
    assert "ValueError: broken" in log
    assert "Rosebud" not in log
