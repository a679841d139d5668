"""Run a service in its own process, so that tests can read its log: `python -m api.launch FORMAT [SETTING=VALUE...]`.

It listens on a free port and prints the port.
"""

import os
import socket
import sys
from typing import NoReturn

import uvicorn

from asr_service.api.factory import create_app
from asr_service.hardware.devices import Device, Slot
from asr_service.logs import configure_logs
from asr_service.settings import load_settings
from fakes import FakeModel, writing


def main(log_format: str, *settings: str) -> None:
    overrides = dict(setting.split("=", 1) for setting in settings)
    configure_logs("debug", log_format)  # type: ignore[arg-type]
    model = FakeModel(script=writing(" the secret word is xylophone"))
    app = create_app(load_settings({}, **overrides), Slot(0, Device("cpu")), _die, load=lambda *_: model)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)  # noqa: T201
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on")).run([listener])


def _die(exit_code: int, _reason: str) -> NoReturn:
    os._exit(exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
