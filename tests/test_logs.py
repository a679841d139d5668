"""The log of a process that is all ours."""

import json
import subprocess
import sys

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
