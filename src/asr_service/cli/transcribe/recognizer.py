"""Opens what transcribes the recordings of one command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asr_service.cli.backend import Backend, Service, prepare_local
from asr_service.cli.transcribe.types import FormFields, Recognizer


@asynccontextmanager
async def open_recognizer(backend: Backend, fields: FormFields) -> AsyncIterator[Recognizer]:
    """Open the recognizer of a backend. Raises StartupError and InvalidParameter as the recognizers do."""
    if isinstance(backend, Service):
        from asr_service.cli.transcribe.remote import remote_recognizer  # noqa: PLC0415 - slow to import

        async with remote_recognizer(
            backend.url, backend.api_key, fields, backend.ca_file, as_jobs=backend.as_jobs
        ) as remote:
            yield remote
    else:
        device = prepare_local(backend)
        from asr_service.cli.transcribe.local import local_recognizer  # noqa: PLC0415 - slow to import

        async with local_recognizer(fields, backend, device) as local:
            yield local
