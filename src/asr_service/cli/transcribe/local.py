"""`asr-service transcribe` with the model in this process."""

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import BinaryIO, Final, NoReturn

from asr_service.cli.transcribe.types import Fields
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.options import DecodingOptions
from asr_service.engine.request_options import RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.engine.slot import ENGINE_FAILURE, ModelLoader, SlotEngine
from asr_service.errors import ConfigurationError, ModelUnavailable, NotReady, StartupError, Unavailable
from asr_service.hardware.devices import Device, Slot
from asr_service.settings import Settings
from asr_service.transcript import Segment, Transcript
from asr_service.validation import check_fields

_CLOSE_S: Final = 1.0
_LAST_WORDS_S: Final = 5.0


class EngineEnded(StartupError):
    """The model's engine is no more, or did not come up."""

    code = "engine_ended"
    exit_code = ENGINE_FAILURE


class LocalRecognizer:
    """Transcribes with an engine of this process; recordings that run side by side share its batches."""

    def __init__(self, service: SlotEngine, options: DecodingOptions, ended: "asyncio.Future[None]") -> None:
        """`ended` fails as soon as the engine does."""
        self._service = service
        self._options = options
        self._ended = ended

    async def transcribe(self, file: BinaryIO) -> AsyncGenerator[Segment | Transcript]:
        # Nobody waits at the other end of a line: a large model on a slow processor may take as long as it does.
        events = self._service.transcriber.transcribe(file, self._options, deadline=math.inf)
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        except Unavailable:
            await _raise_reason(self._ended)
            raise


@asynccontextmanager
async def local_recognizer(
    fields: Fields, settings: Settings, device: Device, load: ModelLoader = load_slot_model
) -> AsyncIterator[LocalRecognizer]:
    """Load the model; `device` is the one that this process sees. `fields` are as the service takes them.

    Raises InvalidParameter: the model cannot do what is asked. StartupError: there is no model to be had.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    own_thread = threading.get_ident()

    def die(exit_code: int, reason: str) -> NoReturn:
        error = _ending(exit_code, reason)
        if threading.get_ident() == own_thread:  # in `start`, whose caller it reaches
            raise error
        loop.call_soon_threadsafe(_fail, ended, error)
        raise SystemExit(exit_code)  # of the engine's thread

    service = SlotEngine(settings, Slot(0, device), load, die)
    await service.start()
    try:
        try:
            await service.wait_until_ready()
        except NotReady:
            await _raise_reason(ended)
            raise
        options = resolve_options(check_fields(RequestOptions, dict(fields)), settings, service.loaded_model)
        yield LocalRecognizer(service, options, ended)
    finally:
        await asyncio.wait([asyncio.ensure_future(service.close())], timeout=_CLOSE_S)


def _ending(exit_code: int, reason: str) -> StartupError:
    kinds = (ConfigurationError, ModelUnavailable)
    return next((kind for kind in kinds if kind.exit_code == exit_code), EngineEnded)(reason)


async def _raise_reason(ended: "asyncio.Future[None]") -> None:
    """Raise why the engine ended. Its requests fail a moment before the reason is known."""
    await asyncio.wait([ended], timeout=_LAST_WORDS_S)
    if ended.done():
        ended.result()


def _fail(ended: "asyncio.Future[None]", error: StartupError) -> None:
    if not ended.done():
        ended.set_exception(error)
