"""Serves the fake application, with settings from the environment: `python -m serving.launcher LIMITS_AS_JSON`.

If $FAKE_MODEL is set, it serves the real application with a fake model whose calls take that many seconds. $OPEN_FILES
is its limit of open files, as SOFT:HARD.
"""

import json
import os
import resource
import sys
from typing import Any

from asr_service.errors import StartupError
from asr_service.serving import ServerLimits, SlotApp, serve
from asr_service.settings import load_settings
from serving.fake_app import FakeApp


def real_app(*given: Any) -> SlotApp:
    # Imported in the worker alone: the master has to lay out the metrics' files first.
    from asr_service.api.factory import create_app
    from asr_service.jobs.times import RunnerTimes
    from fakes import FakeModel, sleeping

    model = FakeModel(before=sleeping(float(os.environ["FAKE_MODEL"])))
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
