"""Handles every request with a recording: admission, upload, transcription and response."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response

from asr_service import metrics, tasks
from asr_service.access.caller_turns import CallerTurns
from asr_service.api.admission import Received, check_new_work, received
from asr_service.api.cache_header import cache_policy, note_outcome
from asr_service.api.idempotency import (
    IdempotencyStore,
    Reservation,
    content_digest,
    scope_of,
)
from asr_service.api.middleware.authentication import caller_of, owner_of
from asr_service.api.problems import UNEXPECTED, note_failure, status_of
from asr_service.api.streaming import StreamedResponse
from asr_service.api.upload import Fields
from asr_service.api.warning_header import add_warnings
from asr_service.engine.fingerprint import engine_fingerprint
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.engine.slot import SlotEngine
from asr_service.errors import AsrError, ClientGone, DeadlineExceeded, MalformedRequest, Unavailable
from asr_service.formats import Format, LineStream
from asr_service.results.cache import CacheOutcome
from asr_service.results.key import result_key
from asr_service.results.opening import Results
from asr_service.results.outcomes import HEADER, IdempotencyScope, RenderedResponse
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
    engine: SlotEngine = request.app.state.engine
    idempotency: IdempotencyStore = request.app.state.idempotency
    scope, reads_cache = scope_of(request), cache_policy(request.headers).reads
    async with AsyncExitStack() as stack:
        transcriber = engine.transcriber
        reservation = stack.enter_context(idempotency.reserve(scope))
        if request.app.state.results is not None and reads_cache:
            reservation = replace(reservation, adds_work=False)  # only the whole upload shows whether it adds work
        admitted = await stack.enter_async_context(
            received(request, lambda fields: _read(fields, read, engine, scope), reservation)
        )
        wanted = _read(admitted.upload.fields, read, engine, scope)
        events = _begin(request, admitted, wanted, transcriber, reservation)
        await stack.enter_async_context(aclosing(events))
        response = await _respond(request, scope, admitted, wanted.fmt, events, stack)
        add_warnings(response, wanted.warnings)
        return response


async def _respond(
    request: Request,
    scope: IdempotencyScope | None,
    admitted: Received,
    fmt: Format,
    events: Events,
    stack: AsyncExitStack,
) -> Response:
    """Respond with the events of a transcription. What may outlast the request takes the resources of `stack`."""
    results: Results | None = request.app.state.results
    settings: Settings = request.app.state.engine.settings
    timeout_s = settings.request_timeout_s
    if fmt.stream is not None:
        first = await cancel_on_disconnect(request, lambda: _in_time(anext(events), timeout_s))
        lines = _lines(fmt.stream, first, events, settings)
        return StreamedResponse(lines, resources=stack.pop_all(), media_type=fmt.media_type, send_timeout_s=timeout_s)
    if scope is None:
        return _whole_response(await cancel_on_disconnect(request, lambda: _rendered(fmt, events, settings)))
    digest = content_digest(admitted.upload)

    async def work(resources: AsyncExitStack) -> RenderedResponse:
        async with resources:
            if results is None or not cache_policy(request.headers).stores:
                return await _rendered(fmt, events, settings)
            shared = results.outcomes.get_or_run(scope, digest, lambda: _rendered(fmt, events, settings))
            return await _in_time(shared, timeout_s)

    return await _respond_once(request, scope, digest, admitted, lambda: work(stack.pop_all()))


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
                return await cancel_on_disconnect(request, lambda: work(admitted, transcriber))
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


def _begin(
    request: Request,
    admitted: Received,
    wanted: TranscriptionRequest,
    transcriber: Transcriber,
    reservation: Reservation,
) -> Events:
    """Return the events of the stored transcript or, if there is none, of a transcription."""
    engine: SlotEngine = request.app.state.engine
    results: Results | None = request.app.state.results
    settings, timeout_s, is_streamed = engine.settings, engine.settings.request_timeout_s, wanted.fmt.stream is not None
    deadline = None if is_streamed else time.monotonic() + timeout_s

    async def computed() -> Events:
        if not reservation.adds_work:
            await check_new_work(request)  # the result that the request hoped to find is not there
        events = transcriber.transcribe(
            admitted.upload.file,
            wanted.options,
            deadline=deadline,
            on_audio=admitted.meter.charge,
            caller=caller_of(request.scope),
        )
        async with aclosing(events):
            try:
                async for event in events:
                    yield event
            except Unavailable:
                admitted.meter.refund()
                raise

    if results is None:
        return computed()
    owner = None if settings.cache_shared else owner_of(request.scope)
    fingerprint = engine_fingerprint(settings, engine.loaded_model.facts)
    return results.cache.events(
        result_key(admitted.upload.sha256.hex(), wanted.options, fingerprint, owner),
        computed,
        policy=cache_policy(request.headers),
        on_outcome=lambda outcome: note_outcome(request.scope, outcome),
        # The client of a stream must get its first line in time.
        wait_s=timeout_s / 2 if is_streamed else math.inf,
    )


async def _respond_once(
    request: Request,
    scope: IdempotencyScope,
    digest: bytes,
    admitted: Received,
    work: Callable[[], Coroutine[Any, Any, RenderedResponse]],
) -> Response:
    """Respond to every request of this scope with one result. The work continues if its first client disconnects."""
    idempotency: IdempotencyStore = request.app.state.idempotency
    rendered, is_replayed = await cancel_on_disconnect(
        request, lambda: idempotency.get_or_run(scope, digest, work, admitted.place)
    )
    response = _whole_response(rendered)
    if is_replayed:
        response.headers["idempotent-replayed"] = "true"
        if request.app.state.results is not None:
            note_outcome(request.scope, CacheOutcome.HIT)
    return response


def _whole_response(rendered: RenderedResponse) -> Response:
    response = Response(rendered.body, media_type=rendered.media_type)
    add_warnings(response, rendered.warnings)
    return response


async def _rendered(fmt: Format, events: Events, settings: Settings) -> RenderedResponse:
    transcript = await _in_time(final_transcript(events), settings.request_timeout_s)
    _log_if_enabled(transcript, settings)
    # In a thread, because the subtitles of ten hours take seconds to lay out.
    body = await asyncio.to_thread(render, fmt, transcript)
    return RenderedResponse(body, fmt.media_type, transcript.warnings)


async def _in_time(work: Awaitable[Result], timeout_s: float) -> Result:
    """Return the result of `work`. Raises DeadlineExceeded: it took too long."""
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"The request took longer than {timeout_s:.0f} s (ASR_REQUEST_TIMEOUT_S). For long recordings use a "
            "streaming response (response_format=ndjson, or stream=true under /v1), which is limited by line and not "
            "as a whole, or submit a job (POST /jobs)."
        ) from error


async def _lines(
    stream: LineStream, first: Segment | Transcript, events: Events, settings: Settings
) -> AsyncGenerator[str]:
    event = first
    try:
        while isinstance(event, Segment):
            yield stream.segment(event)
            event = await _in_time(anext(events), settings.request_timeout_s)
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


@asynccontextmanager
async def layout_turn(request: Request) -> AsyncIterator[None]:
    """Hold the turn of the caller to write a transcript in a format, until the context ends.

    The subtitles of hours take seconds of a core. Other callers, and what else needs a thread, do not wait for them.
    Raises CallerLimit: the turn did not come in time. Raises ClientGone: the client disconnected before.
    """
    turns: CallerTurns = request.app.state.layout_turns
    turn = turns.turn(caller_of(request.scope))
    async with AsyncExitStack() as stack:
        await cancel_on_disconnect(request, lambda: stack.enter_async_context(turn))
        yield


def render(fmt: Format, transcript: Transcript) -> bytes:
    with stage("render"):
        return fmt.render(transcript).encode()


async def cancel_on_disconnect(request: Request, work: Callable[[], Awaitable[Result]]) -> Result:
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
