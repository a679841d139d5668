"""`asr-service transcribe` without a service: the model runs in this process."""

import asyncio
import hashlib
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import BinaryIO, Final, NoReturn

from asr_service import __version__
from asr_service.cli.download import download_progress
from asr_service.cli.transcribe.types import FormFields
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import DecodingOptions
from asr_service.engine.request_options import RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.engine.schedule.execution import DeviceLostError
from asr_service.engine.slot import ENGINE_FAILURE, ModelLoader, SlotEngine
from asr_service.errors import (
    ConfigurationError,
    InferenceFailed,
    ModelUnavailable,
    NotReady,
    StartupError,
    Unavailable,
)
from asr_service.hardware.devices import Device, Slot
from asr_service.settings import Settings
from asr_service.transcript import Segment, Transcript
from asr_service.validation import check_fields

_CLOSE_TIMEOUT_S: Final = 1.0
_REASON_TIMEOUT_S: Final = 5.0


class EngineEnded(StartupError):
    """The engine stopped, or did not start."""

    code = "engine_ended"
    exit_code = ENGINE_FAILURE


class LocalRecognizer:
    """Transcribes with an engine in this process. Concurrent recordings share its batches."""

    def __init__(
        self, engine: SlotEngine, options: DecodingOptions, ended: "asyncio.Future[None]", resume_key: str
    ) -> None:
        """Set up with `ended`, which gets the reason as its exception when the engine stops."""
        self._engine = engine
        self._options = options
        self._ended = ended
        self.resume_key = resume_key

    async def transcribe(self, file: BinaryIO, earlier: Sequence[Segment] = ()) -> AsyncGenerator[Segment | Transcript]:
        # No deadline: no client waits for a response, and a large model on a slow CPU takes long.
        events = self._engine.transcriber.transcribe(file, self._options, deadline=math.inf, earlier=earlier)
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        except (Unavailable, InferenceFailed) as error:
            if isinstance(error, Unavailable) or isinstance(error.__cause__, DeviceLostError):
                await _raise_reason(self._ended)
            raise


@asynccontextmanager
async def local_engine(
    settings: Settings, device: Device, load: ModelLoader | None = None
) -> AsyncIterator[tuple[SlotEngine, "asyncio.Future[None]"]]:
    """Load the model on `device`, the only one that this process sees. The future gets the reason of an early end.

    Raises StartupError: the model cannot be loaded.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    own_thread = threading.get_ident()

    def die(exit_code: int, reason: str) -> NoReturn:
        error = _startup_error(exit_code, reason)
        if threading.get_ident() == own_thread:  # called by `start`, which passes the error on
            raise error
        loop.call_soon_threadsafe(_fail, ended, error)
        raise SystemExit(exit_code)  # ends the engine's thread

    engine = SlotEngine(settings, Slot(0, device), load or _load_and_show_download, die)
    await engine.start()
    try:
        try:
            await engine.wait_until_ready()
        except NotReady:
            await _raise_reason(ended)
            raise
        yield engine, ended
    finally:
        await asyncio.wait([asyncio.ensure_future(engine.close())], timeout=_CLOSE_TIMEOUT_S)


@asynccontextmanager
async def local_recognizer(
    fields: FormFields, settings: Settings, device: Device, load: ModelLoader | None = None
) -> AsyncIterator[LocalRecognizer]:
    """Open an engine as `local_engine` does. `fields` are the form fields of a request.

    Raises InvalidParameter: the model does not support the options. Raises StartupError as `local_engine` does.
    """
    async with local_engine(settings, device, load) as (engine, ended):
        options = resolve_options(check_fields(RequestOptions, fields), settings, engine.loaded_model)
        yield LocalRecognizer(engine, options, ended, _resume_key(settings, options, engine.loaded_model))


def _resume_key(settings: Settings, options: DecodingOptions, model: SpeechModel) -> str:
    """Digest all settings and the program's version too: any of them may decide where windows begin."""
    return hashlib.sha256(repr((__version__, settings, options, model.facts)).encode()).hexdigest()


def _load_and_show_download(settings: Settings, slot: Slot, on_files: Callable[[], None]) -> SpeechModel:
    with download_progress() as report:
        return load_slot_model(settings, slot, on_files, report)


def _startup_error(exit_code: int, reason: str) -> StartupError:
    kinds = (ConfigurationError, ModelUnavailable)
    return next((kind for kind in kinds if kind.exit_code == exit_code), EngineEnded)(reason)


async def _raise_reason(ended: "asyncio.Future[None]") -> None:
    """Raise why the engine ended. Its requests fail a moment before the reason is known."""
    await asyncio.wait([ended], timeout=_REASON_TIMEOUT_S)
    if ended.done():
        ended.result()


def _fail(ended: "asyncio.Future[None]", error: StartupError) -> None:
    if not ended.done():
        ended.set_exception(error)
