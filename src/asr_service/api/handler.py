"""Handles every request with a recording: admission, upload, transcription and response."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

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
from asr_service.api.problems import UNEXPECTED, note_failure, status_of
from asr_service.api.streaming import StreamedResponse
from asr_service.api.upload import Fields, Upload, early_fields, receive_upload
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.engine.slot import SlotEngine
from asr_service.errors import AsrError, ClientGone, DeadlineExceeded, MalformedRequest, Unavailable
from asr_service.formats import Format, LineStream
from asr_service.settings import Settings
from asr_service.stages import stage
from asr_service.transcript import Segment, Transcript
from asr_service.transcript.events import Events, final_transcript

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

WARNING_HEADER = "X-ASR-Warning"
"""Has the warnings about the recording, which some formats have no field for, and names the fields of the request that
have no effect although they might have changed the text."""
_MAX_WARNING_CHARS: Final = 1000


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """How to transcribe a recording, and how to write its transcript."""

    options: DecodingOptions
    fmt: Format
    warnings: tuple[str, ...] = ()
    """Sentences about fields of the request that have no effect, for a header of the response."""


FieldReader = Callable[[Fields, Settings, SpeechModel], TranscriptionRequest]
"""Reads the fields of one API. Raises InvalidParameter or MalformedRequest."""


async def handle_transcription(request: Request, read: FieldReader) -> Response:
    """Admit the request, receive the upload and respond with the transcript, whole or streamed. Raises AsrError."""
    warnings: list[str] = []

    def read_and_note(fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
        wanted = read(fields, settings, model)
        warnings[:] = wanted.warnings
        return wanted

    response = await _transcribe(request, read_and_note)
    if warnings:
        _warn(response, *warnings)
    return response


def _warn(response: Response, *warnings: str) -> None:
    """Add sentences to the header. They may have text of the recording, so only printable ASCII is kept."""
    text = " ".join([*filter(None, [response.headers.get(WARNING_HEADER)]), *warnings])
    safe = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    response.headers[WARNING_HEADER] = safe[:_MAX_WARNING_CHARS]


async def _transcribe(request: Request, read: FieldReader) -> Response:
    engine: SlotEngine = request.app.state.engine
    idempotency: IdempotencyStore = request.app.state.idempotency
    settings, timeout_s = engine.settings, engine.settings.request_timeout_s
    scope = scope_of(request)
    async with AsyncExitStack() as stack:
        transcriber = engine.transcriber
        state = stack.enter_context(idempotency.reserve(scope))
        meter = await stack.enter_async_context(admit(request, state))
        if (fields := early_fields(request)) is not None:
            _read(fields, read, engine, scope)  # refuse an invalid request before its upload
        upload = await stack.enter_async_context(receive_upload(request))
        wanted = _read(upload.fields, read, engine, scope)
        fmt, events = wanted.fmt, _begin(upload, wanted, engine, transcriber, meter)
        await stack.enter_async_context(aclosing(events))
        if fmt.stream is None:
            if scope is not None:
                return await _respond_once(
                    request, scope, upload, lambda: _own_resources(stack.pop_all(), fmt, events, settings)
                )
            rendered = await _cancel_on_disconnect(request, lambda: _rendered(fmt, events, settings))
            return _whole_response(rendered)
        first = await _cancel_on_disconnect(request, lambda: _next(events, timeout_s))
        lines = _lines(fmt.stream, first, events, settings)
        return StreamedResponse(lines, resources=stack.pop_all(), media_type=fmt.media_type, send_timeout_s=timeout_s)


async def handle_upload(request: Request, work: Callable[[Upload, Transcriber, Meter], Awaitable[Result]]) -> Result:
    """Admit the request, receive the upload and return what `work` makes of it, while the client waits.

    Raises AsrError.
    """
    engine: SlotEngine = request.app.state.engine
    timeout_s = engine.settings.request_timeout_s
    async with AsyncExitStack() as stack:
        transcriber = engine.transcriber
        meter = await stack.enter_async_context(admit(request))
        upload = await stack.enter_async_context(receive_upload(request))
        try:
            async with asyncio.timeout(timeout_s):
                return await _cancel_on_disconnect(request, lambda: work(upload, transcriber, meter))
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The request took longer than {timeout_s:.0f} s (ASR_REQUEST_TIMEOUT_S)."
            ) from error
        except Unavailable:
            meter.refund()
            raise


@asynccontextmanager
async def admit(request: Request, state: ReplayState = ReplayState.NEW) -> AsyncIterator[Meter]:
    """Hold a permit for a recording, within the limits of its API key and of the slot.

    Raises KeyLimitReached: the key is at a limit. Raises Unavailable: the slot is.
    """
    engine: SlotEngine = request.app.state.engine
    usage: KeyUsage = request.app.state.key_usage
    async with usage.admit(caller_of(request.scope), state) as meter:
        with engine.admission.permit(state):
            yield meter


def _read(
    fields: Fields, read: FieldReader, engine: SlotEngine, scope: IdempotencyScope | None
) -> TranscriptionRequest:
    wanted = read(fields, engine.settings, engine.loaded_model)
    if wanted.fmt.stream is not None and scope is not None:
        raise MalformedRequest(f"{HEADER} is not supported for streaming responses.", param=HEADER)
    return wanted


def _begin(
    upload: Upload, wanted: TranscriptionRequest, engine: SlotEngine, transcriber: Transcriber, meter: Meter
) -> Events:
    deadline = None if wanted.fmt.stream else time.monotonic() + engine.settings.request_timeout_s
    events = transcriber.transcribe(upload.file, wanted.options, deadline=deadline, on_audio=meter.charge)
    return _refunded(events, meter)


async def _refunded(events: Events, meter: Meter) -> Events:
    """Yield the events. Refund the audio if the service fails and asks the client to retry."""
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except Unavailable:
            meter.refund()
            raise


async def _respond_once(
    request: Request,
    scope: IdempotencyScope,
    upload: Upload,
    work: Callable[[], Coroutine[Any, Any, RenderedResponse]],
) -> Response:
    """Respond to every request of this scope with one result. The work goes on if the client that began it leaves."""
    idempotency: IdempotencyStore = request.app.state.idempotency
    digest = await asyncio.to_thread(content_digest, upload)
    rendered, is_replayed = await _cancel_on_disconnect(request, lambda: idempotency.get_or_run(scope, digest, work))
    response = _whole_response(rendered)
    if is_replayed:
        response.headers["idempotent-replayed"] = "true"
    return response


def _whole_response(rendered: RenderedResponse) -> Response:
    response = Response(rendered.body, media_type=rendered.media_type)
    if rendered.warnings:
        _warn(response, *rendered.warnings)
    return response


async def _own_resources(
    resources: AsyncExitStack, fmt: Format, events: Events, settings: Settings
) -> RenderedResponse:
    """Finish the transcript and close the resources, which belong to the work and no longer to one request."""
    async with resources:
        return await _rendered(fmt, events, settings)


async def _rendered(fmt: Format, events: Events, settings: Settings) -> RenderedResponse:
    transcript = await _final(events, settings.request_timeout_s)
    _log_if_enabled(transcript, settings)
    # In a thread, because the subtitles of ten hours take seconds to lay out.
    body = await asyncio.to_thread(render, fmt, transcript)
    return RenderedResponse(body, fmt.media_type, transcript.warnings)


async def _final(events: Events, timeout_s: float) -> Transcript:
    try:
        async with asyncio.timeout(timeout_s):
            return await final_transcript(events)
    except TimeoutError as error:
        raise _too_slow(timeout_s) from error


async def _next(events: Events, timeout_s: float) -> Segment | Transcript:
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(events)
    except TimeoutError as error:
        raise _too_slow(timeout_s) from error


def _too_slow(timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The request took longer than {timeout_s:.0f} s (ASR_REQUEST_TIMEOUT_S). For long recordings use a streaming "
        "response (response_format=ndjson, or stream=true under /v1), which is limited by line and not as a whole."
    )


async def _lines(
    stream: LineStream, first: Segment | Transcript, events: Events, settings: Settings
) -> AsyncGenerator[str]:
    event = first
    try:
        while isinstance(event, Segment):
            yield stream.segment(event)
            event = await _next(events, settings.request_timeout_s)
        _log_if_enabled(event, settings)
        yield stream.closing(event)
    except AsrError as error:
        note_failure(error)
        yield _error_event(stream, error)
    except Exception:
        log.exception("unexpected error")
        yield _error_event(stream, AsrError(UNEXPECTED))


def _error_event(stream: LineStream, error: AsrError) -> str:
    """Count the error and write it as the stream's last line. The status was sent before."""
    metrics.FAILURES.labels(error.code).inc()
    return stream.error(error.code, error.message, status=status_of(error), param=error.param)


def _log_if_enabled(transcript: Transcript, settings: Settings) -> None:
    if settings.log_transcripts:
        log.info("transcript", text=transcript.text, language=transcript.language, duration=transcript.duration)


def render(fmt: Format, transcript: Transcript) -> bytes:
    with stage("render"):
        return fmt.render(transcript).encode()


async def _cancel_on_disconnect(request: Request, work: Callable[[], Awaitable[Result]]) -> Result:
    """Run the work, and cancel it as soon as the client disconnects. Raises ClientGone: the client disconnected."""
    working = asyncio.ensure_future(work())
    disconnected = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("The client disconnected before the response was ready.")
        return await working
    finally:
        await tasks.cancel([working, disconnected])


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
