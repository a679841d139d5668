"""Handles every request with a recording: admission, upload, transcription and response."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response

from asr_service import metrics, tasks
from asr_service.access.usage import Meter
from asr_service.api.admission import Received, check_new_work, received
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
from asr_service.api.upload import Fields
from asr_service.api.warning_header import add_warnings
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
    add_warnings(response, tuple(warnings))
    return response


async def _transcribe(request: Request, read: FieldReader) -> Response:
    engine: SlotEngine = request.app.state.engine
    idempotency: IdempotencyStore = request.app.state.idempotency
    settings, timeout_s = engine.settings, engine.settings.request_timeout_s
    scope = scope_of(request)
    async with AsyncExitStack() as stack:
        transcriber = engine.transcriber
        reservation = stack.enter_context(idempotency.reserve(scope))
        admitted = await stack.enter_async_context(
            received(request, lambda fields: _read(fields, read, engine, scope), reservation)
        )
        wanted = _read(admitted.upload.fields, read, engine, scope)
        fmt, events = wanted.fmt, _begin(request, admitted, wanted, transcriber)
        await stack.enter_async_context(aclosing(events))
        if fmt.stream is None:
            if scope is not None:

                async def work(resources: AsyncExitStack) -> RenderedResponse:
                    async with resources:
                        if not reservation.adds_work:
                            await check_new_work(request)  # the work that the request hoped to find is gone
                        return await _rendered(fmt, events, settings)

                return await _respond_once(request, scope, admitted, lambda: work(stack.pop_all()))
            rendered = await _cancel_on_disconnect(request, lambda: _rendered(fmt, events, settings))
            return _whole_response(rendered)
        first = await _cancel_on_disconnect(request, lambda: _next(events, timeout_s))
        lines = _lines(fmt.stream, first, events, settings)
        return StreamedResponse(lines, resources=stack.pop_all(), media_type=fmt.media_type, send_timeout_s=timeout_s)


async def handle_upload(request: Request, work: Callable[[Received, Transcriber], Awaitable[Result]]) -> Result:
    """Admit the request, receive the upload and return the result of `work`, while the client waits.

    Raises AsrError.
    """
    engine: SlotEngine = request.app.state.engine
    timeout_s = engine.settings.request_timeout_s
    transcriber = engine.transcriber
    async with received(request, lambda _: None) as admitted:
        try:
            async with asyncio.timeout(timeout_s):
                return await _cancel_on_disconnect(request, lambda: work(admitted, transcriber))
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"The request took longer than {timeout_s:.0f} s (ASR_REQUEST_TIMEOUT_S)."
            ) from error
        except Unavailable:
            admitted.meter.refund()
            raise


def _read(
    fields: Fields, read: FieldReader, engine: SlotEngine, scope: IdempotencyScope | None
) -> TranscriptionRequest:
    wanted = read(fields, engine.settings, engine.loaded_model)
    if wanted.fmt.stream is not None and scope is not None:
        raise MalformedRequest(f"{HEADER} is not supported for streaming responses.", param=HEADER)
    return wanted


def _begin(request: Request, admitted: Received, wanted: TranscriptionRequest, transcriber: Transcriber) -> Events:
    engine: SlotEngine = request.app.state.engine
    events = transcriber.transcribe(
        admitted.upload.file,
        wanted.options,
        deadline=None if wanted.fmt.stream else time.monotonic() + engine.settings.request_timeout_s,
        on_audio=admitted.meter.charge,
        caller=caller_of(request.scope),
    )
    return _refunded(events, admitted.meter)


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
    admitted: Received,
    work: Callable[[], Coroutine[Any, Any, RenderedResponse]],
) -> Response:
    """Respond to every request of this scope with one result. The work continues if its first client disconnects."""
    idempotency: IdempotencyStore = request.app.state.idempotency
    digest = await asyncio.to_thread(content_digest, admitted.upload)
    rendered, is_replayed = await _cancel_on_disconnect(
        request, lambda: idempotency.get_or_run(scope, digest, work, admitted.place)
    )
    response = _whole_response(rendered)
    if is_replayed:
        response.headers["idempotent-replayed"] = "true"
    return response


def _whole_response(rendered: RenderedResponse) -> Response:
    response = Response(rendered.body, media_type=rendered.media_type)
    add_warnings(response, rendered.warnings)
    return response


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
        "response (response_format=ndjson, or stream=true under /v1), which is limited by line and not as a whole, or "
        "submit a job (POST /jobs)."
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
