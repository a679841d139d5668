"""Choose what transcribes: a running service, or a model in this process."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asr_service.cli.transcribe.types import Fields, Recognizer


@dataclass(frozen=True, slots=True)
class Backend:
    """The service, or the model of this process, that transcribes."""

    server: str | None
    """None loads `model` on `device` in this process; if they are None, the settings name them."""
    api_key: str | None
    model: str | None
    device: str | None


@asynccontextmanager
async def open_recognizer(backend: Backend, fields: Fields) -> AsyncIterator[Recognizer]:
    """Open the recognizer of a backend. Raises StartupError and InvalidParameter as the recognizers do."""
    # Each branch imports only what it needs, because the imports are slow.
    if backend.server is not None:
        from asr_service.cli.transcribe.remote import remote_recognizer  # noqa: PLC0415

        async with remote_recognizer(backend.server, backend.api_key, fields) as remote:
            yield remote
        return
    from asr_service.hardware.environment import engine_environment  # noqa: PLC0415
    from asr_service.hardware.nvml import discover_gpus  # noqa: PLC0415
    from asr_service.hardware.spec import parse_devices  # noqa: PLC0415
    from asr_service.logs import configure_logs  # noqa: PLC0415
    from asr_service.settings import load_settings  # noqa: PLC0415

    given = {"model": backend.model, "devices": backend.device}
    settings = load_settings(None, **{name: value for name, value in given.items() if value is not None})
    configure_logs("error", "plain")  # the report has the errors of single recordings
    gpus = discover_gpus()
    device = parse_devices(settings.devices, gpus)[0]
    os.environ.update(engine_environment(device, gpus))  # before the libraries that read it are imported
    from asr_service.cli.transcribe.local import local_recognizer  # noqa: PLC0415

    async with local_recognizer(fields, settings, device) as local:
        yield local
