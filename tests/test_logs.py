"""The log of a process that is all ours."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import threading, warnings
from asr_service.logs import configure_logs, log_what_nobody_catches
configure_logs("info", "json")
log_what_nobody_catches()
warnings.warn("about\\nsomething", RuntimeWarning)
thread = threading.Thread(target=lambda: 1 / 0, name="worker-bee")
thread.start()
thread.join()
"""


def test_what_nobody_catches_is_a_line_of_json_each():
    """A library's warning, and the error that ends a thread, with its trace: programs read the log line by line."""
    done = subprocess.run([sys.executable, "-W", "default", "-c", PROGRAM], capture_output=True, text=True, check=True)
    warning, end = map(json.loads, done.stderr.splitlines())
    assert (warning["level"], "about\nsomething" in warning["event"]) == ("warning", True)
    assert (end["level"], end["event"], end["thread"]) == ("critical", "a thread ended", "worker-bee")
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
def test_a_trace_shows_where_and_no_values(fmt):
    """The frames of a failure hold prompts and transcripts: their lines of code are written, their variables not."""
    command = [sys.executable, "-c", FAILS_WITH_A_SECRET, fmt, "Rosebud"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    assert "in fail" in told
    assert "ValueError: broken" in told
    assert "Rosebud" not in told
