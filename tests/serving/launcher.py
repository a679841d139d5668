"""Serves the fake application, with settings from the environment: `python -m serving.launcher TUNING_AS_JSON`."""

import json
import sys

from asr_service.errors import StartupError
from asr_service.serving import Tuning, serve
from asr_service.settings import load_settings
from serving.fake_app import FakeApp

if __name__ == "__main__":
    try:
        sys.exit(serve(load_settings(), app_factory=FakeApp, tuning=Tuning(**json.loads(sys.argv[1]))))
    except StartupError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(error.exit_code)
