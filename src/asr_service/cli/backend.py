"""Choose what transcribes: a running service, or a model in this process."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import typer

from asr_service.cli.shared_options import check_key, check_server

if TYPE_CHECKING:
    from asr_service.hardware.devices import Device
    from asr_service.settings import Settings

# Functions import what they need, because the imports are slow.


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    url: str
    api_key: str | None
    ca_file: Path | None
    as_jobs: bool = False
    """Whether each recording is a job."""


Backend: TypeAlias = "Service | Settings"
"""A running service, or the settings of a model in this process."""


def choose_backend(
    server: str | None,
    api_key: str | None,
    ca_file: Path | None,
    model: str | None,
    device: str | None,
    *,
    as_jobs: bool = False,
) -> Backend:
    """Return the backend that the options of a command name.

    Raises typer.BadParameter: an option is wrong, or is not for this backend. Raises ConfigurationError: a setting is.
    """
    if server is None:
        if as_jobs:
            raise typer.BadParameter("--as-job applies only to a --server.")
        if ca_file is not None:
            raise typer.BadParameter("--ca-file applies only to a --server.")
    else:
        if model is not None or device is not None:
            raise typer.BadParameter("--model and --device do not apply to a --server, which has its own.")
        check_server(server)
    check_key(api_key)
    if server is not None:
        return Service(server, api_key, ca_file, as_jobs)
    from asr_service.settings import load_settings  # noqa: PLC0415

    return load_settings(model=model, devices=device)


def prepare_local(settings: "Settings") -> "Device":
    """Prepare this process for a model, before the libraries of the engine are imported. Returns its device.

    Raises ConfigurationError: a device of the settings does not exist.
    """
    from asr_service.hardware.environment import engine_environment  # noqa: PLC0415
    from asr_service.hardware.nvml import discover_gpus  # noqa: PLC0415
    from asr_service.hardware.spec import parse_devices  # noqa: PLC0415
    from asr_service.logs import configure_logs  # noqa: PLC0415

    configure_logs("error", "plain")  # the report has the errors of single recordings
    gpus = discover_gpus()
    device = parse_devices(settings.devices, gpus)[0]
    os.environ.update(engine_environment(device, gpus))
    return device
