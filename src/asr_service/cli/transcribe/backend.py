"""Choose what transcribes: a running service, or a model in this process."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr_service.cli.transcribe.types import Fields, Recognizer

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
    as_jobs: bool
    """Whether each recording is a job."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The service, or the model of this process, that transcribes. One of the two fields is None."""

    service: Service | None
    settings: "Settings | None"
    """Settings of the model in this process."""


def service_backend(url: str, api_key: str | None, ca_file: Path | None, *, as_jobs: bool = False) -> Backend:
    return Backend(Service(url, api_key, ca_file, as_jobs), None)


def local_backend(model: str | None, device: str | None) -> Backend:
    """Return the backend with this model and device; None takes those of the settings. Raises ConfigurationError."""
    from asr_service.settings import load_settings  # noqa: PLC0415

    given = {"model": model, "devices": device}
    return Backend(None, load_settings(None, **{name: value for name, value in given.items() if value is not None}))


@asynccontextmanager
async def open_recognizer(backend: Backend, fields: Fields) -> AsyncIterator[Recognizer]:
    """Open the recognizer of a backend. Raises StartupError and InvalidParameter as the recognizers do."""
    if backend.service is not None:
        from asr_service.cli.transcribe.remote import remote_recognizer  # noqa: PLC0415

        service = backend.service
        async with remote_recognizer(
            service.url, service.api_key, fields, service.ca_file, as_jobs=service.as_jobs
        ) as remote:
            yield remote
    if backend.settings is not None:
        async with _open_local(backend.settings, fields) as local:
            yield local


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


@asynccontextmanager
async def _open_local(settings: "Settings", fields: Fields) -> AsyncIterator[Recognizer]:
    device = prepare_local(settings)
    from asr_service.cli.transcribe.local import local_recognizer  # noqa: PLC0415

    async with local_recognizer(fields, settings, device) as local:
        yield local
