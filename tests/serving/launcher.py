"""Serves the fake application, with settings from the environment: `python -m serving.launcher LIMITS_AS_JSON`.

If $FAKE_MODEL is set, it serves the real application with a fake model whose calls take that many seconds. A file
`windows` in $FAKE_DIR is the number of windows that this model may still decode; then it waits for a larger number.
$OPEN_FILES is its limit of open files, as SOFT:HARD.
"""

import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_service.errors import StartupError
from asr_service.serving import ServerLimits, SlotApp, serve
from asr_service.settings import load_settings
from serving.fake_app import FakeApp

if TYPE_CHECKING:
    from fakes import Call


class Pace:
    """What the fake model does before each call: it waits until it may decode the windows, then sleeps."""

    def __init__(self, seconds: float, windows: Path) -> None:
        self._seconds = seconds
        self._windows = windows
        self._lock = threading.Lock()

    def __call__(self, call: "Call") -> None:
        if call.stage == "generate":
            while not self._may_decode(call.n_windows):
                time.sleep(0.01)
            time.sleep(self._seconds)

    def _may_decode(self, n_windows: int) -> bool:
        with self._lock:
            try:
                n_left = int(self._windows.read_text() or "0")
                if n_left >= n_windows:
                    self._windows.write_text(str(n_left - n_windows))
            except FileNotFoundError:
                return True
            return n_left >= n_windows


def real_app(*given: Any) -> SlotApp:
    # Imported in the worker alone: the master has to lay out the metrics' files first.
    from asr_service.api.factory import create_app
    from asr_service.jobs.times import RunnerTimes
    from fakes import FakeModel

    pace = Pace(float(os.environ["FAKE_MODEL"]), Path(os.environ["FAKE_DIR"]) / "windows")
    model = FakeModel(before=pace)
    times = RunnerTimes(lease_s=1.5, poll_s=0.05, flush_s=0.01, retry_delays_s=(0.1, 0.1), sweep_s=0.1)
    return create_app(*given, load=lambda *_: model, job_times=times)


if __name__ == "__main__":
    if "OPEN_FILES" in os.environ:
        soft, hard = map(int, os.environ["OPEN_FILES"].split(":"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        app_factory = real_app if "FAKE_MODEL" in os.environ else FakeApp
        sys.exit(serve(load_settings(), app_factory=app_factory, limits=ServerLimits(**json.loads(sys.argv[1]))))
    except StartupError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(error.exit_code)
