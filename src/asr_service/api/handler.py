"""From a request to its answer: the one way that every address which takes a recording goes."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response

from asr_service import metrics, tasks
from asr_service.access.replay import ReplayState
from asr_service.access.usage import KeyUsage, Meter
from asr_service.api.idempotency import (
    HEADER,
    IdempotencyScope,
    IdempotencyStore,
    RenderedResponse,
    content_digest,
    scope_of,
)
from asr_service.api.middleware.authentication import caller_of
from asr_service.api.problems import UNEXPECTED, kind_of, note_failure, status_of
from asr_service.api.streaming import StreamedResponse
from asr_service.api.upload import Fields, Upload, receive_upload
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.engine.slot import SlotEngine
from asr_service.errors import AsrError, ClientGone, DeadlineExceeded, MalformedRequest, Unavailable
from asr_service.formats import Format, LineStream
from asr_service.settings import Settings
from asr_service.stages import stage
from asr_service.transcript import Segment, Transcript

log = structlog.get_logger(__name__)

Events = AsyncGenerator[Segment | Transcript]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What a request wants, in the engine's terms and as it is to be written."""

    options: DecodingOptions
    fmt: Format


Reader = Callable[[Fields, Settings, SpeechModel], TranscriptionRequest]
"""Reads an address' own fields. Raises InvalidParameter or MalformedRequest."""


async def handle_transcription(request: Request, read: Reader) -> Response:
    """Let the request in, receive it, and answer whole or line by line. Raises AsrError."""
    service: SlotEngine = request.app.state.service
    answers: IdempotencyStore = request.app.state.idempotency
    name = scope_of(request)
    async with AsyncExitStack() as stack:
        transcriber = service.transcriber
        again = stack.enter_context(answers.reserve(name))
        meter = await stack.enter_async_context(admit(request, again))
        upload = await stack.enter_async_context(receive_upload(request))
        fmt, events = _begin(upload, read, service, transcriber, meter)
        await stack.enter_async_context(aclosing(events))
        settings, timeout_s = service.settings, service.settings.request_timeout_s
        if fmt.stream is None and name is not None:
            return await _shared(request, name, upload, lambda: _own_resources(stack.pop_all(), fmt, events, settings))
        if fmt.stream is None:
            written = await _cancel_on_disconnect(request, lambda: _written(fmt, events, settings))
            return Response(written.body, media_type=written.media_type)
        if name is not None:
            raise MalformedRequest(f"a streamed answer is not repeated: leave out {HEADER}", param=HEADER)
        first = await _cancel_on_disconnect(request, lambda: _next(events, timeout_s))
        lines = _lines(fmt.stream, first, events, settings)
        return StreamedResponse(lines, held=stack.pop_all(), media_type=fmt.media_type, patience_s=timeout_s)


async def handle_upload(request: Request, work: Callable[[Upload, Transcriber, Meter], Awaitable[Result]]) -> Result:
    """Let the request in, receive it, and do with it what gives no transcript, while its client waits.

    Raises AsrError.
    """
    service: SlotEngine = request.app.state.service
    async with AsyncExitStack() as stack:
        transcriber = service.transcriber
        meter = await stack.enter_async_context(admit(request))
        upload = await stack.enter_async_context(receive_upload(request))
        try:
            async with asyncio.timeout(service.settings.request_timeout_s):
                return await _cancel_on_disconnect(request, lambda: work(upload, transcriber, meter))
        except TimeoutError as error:
            raise DeadlineExceeded(f"no answer within {service.settings.request_timeout_s:.0f} s") from error
        except Unavailable:
            meter.refund()
            raise


@asynccontextmanager
async def admit(request: Request, state: ReplayState = ReplayState.NEW) -> AsyncIterator[Meter]:
    """Hold a recording's place, within its key's limits and the slot's. Raises KeyLimitReached, Unavailable.

    One that comes again is not held against the work that it finds: it adds none, and where its first client has left,
    that work still has its place.
    """
    service: SlotEngine = request.app.state.service
    usage: KeyUsage = request.app.state.key_usage
    async with usage.admit(caller_of(request.scope), state) as meter:
        with service.admission.permit(state):
            yield meter


def _begin(
    upload: Upload, read: Reader, service: SlotEngine, transcriber: Transcriber, meter: Meter
) -> tuple[Format, Events]:
    asked = read(upload.fields, service.settings, service.loaded_model)
    deadline = None if asked.fmt.stream else time.monotonic() + service.settings.request_timeout_s
    events = transcriber.transcribe(upload.file, asked.options, deadline=deadline, on_audio=meter.charge)
    return asked.fmt, _charged(events, meter)


async def _charged(events: Events, meter: Meter) -> Events:
    """The events. Where the service asks for the recording to be sent again, nothing is charged for this time."""
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except Unavailable:
            meter.refund()
            raise


async def _shared(
    request: Request, name: IdempotencyScope, upload: Upload, begin: Callable[[], Coroutine[Any, Any, RenderedResponse]]
) -> Response:
    """The answer to all requests of that name. Whoever comes first begins the work, which outlives its own client."""
    answers: IdempotencyStore = request.app.state.idempotency
    digest = await asyncio.to_thread(content_digest, upload)
    written, is_replayed = await _cancel_on_disconnect(request, lambda: answers.get_or_run(name, digest, begin))
    headers = {"idempotent-replayed": "true"} if is_replayed else {}
    return Response(written.body, media_type=written.media_type, headers=headers)


async def _own_resources(held: AsyncExitStack, fmt: Format, events: Events, settings: Settings) -> RenderedResponse:
    async with held:
        return await _written(fmt, events, settings)


async def _written(fmt: Format, events: Events, settings: Settings) -> RenderedResponse:
    transcript = await _whole(events, settings.request_timeout_s)
    _log_if_asked(transcript, settings)
    # On a thread: the subtitles of ten hours take seconds to lay out.
    return RenderedResponse(await asyncio.to_thread(_rendered, fmt, transcript), fmt.media_type)


async def _whole(events: Events, timeout_s: float) -> Transcript:
    try:
        async with asyncio.timeout(timeout_s):
            async for event in events:
                if isinstance(event, Transcript):
                    return event
    except TimeoutError as error:
        raise _too_slow(timeout_s) from error
    raise AssertionError("a transcript ends every recording")


async def _next(events: Events, timeout_s: float) -> Segment | Transcript:
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(events)
    except TimeoutError as error:
        raise _too_slow(timeout_s) from error


def _too_slow(timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"no answer within {timeout_s:.0f} s; one that streams (response_format=ndjson, or stream=true under /v1) has "
        "no such limit on the whole"
    )


async def _lines(
    stream: LineStream, first: Segment | Transcript, events: Events, settings: Settings
) -> AsyncGenerator[str]:
    event = first
    try:
        while isinstance(event, Segment):
            yield stream.segment(event)
            event = await _next(events, settings.request_timeout_s)
        _log_if_asked(event, settings)
        yield stream.closing(event)
    except AsrError as error:
        note_failure(error)
        yield _error_event(stream, error)
    except Exception:
        log.exception("unexpected error")
        yield _error_event(stream, AsrError(UNEXPECTED))


def _error_event(stream: LineStream, error: AsrError) -> str:
    """The status has been sent; the last line says what happened."""
    metrics.FAILURES.labels(error.code).inc()
    return stream.error(error.code, error.message, kind=kind_of(status_of(error)), param=error.param)


def _log_if_asked(transcript: Transcript, settings: Settings) -> None:
    if settings.log_transcripts:
        log.info("transcript", text=transcript.text, language=transcript.language, duration=transcript.duration)


def _rendered(fmt: Format, transcript: Transcript) -> bytes:
    with stage("render"):
        return fmt.render(transcript).encode()


async def _cancel_on_disconnect(request: Request, work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work, and drop it as soon as the client has gone. Raises ClientGone."""
    working = asyncio.ensure_future(work())
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("the client left before its answer was ready")
        return await working
    finally:
        await tasks.cancel([working, leaving])


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
