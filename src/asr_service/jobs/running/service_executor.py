"""Sends the recordings of jobs to the services, which transcribe them as bulk requests."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import BinaryIO, Final

import httpx
import structlog

from asr_service.client.responses import error_code, error_message, retry_after_s
from asr_service.jobs.running import wire
from asr_service.jobs.running.executor import AttemptFailed, Event, Work, WorkReturned
from asr_service.tracing import current_traceparent
from asr_service.transcript import Transcript

log = structlog.get_logger(__name__)

TIMEOUT: Final = httpx.Timeout(10.0, read=6 * wire.KEEP_ALIVE_S, write=120.0, pool=None)
_RETRY_S: Final = 1.0
_PART_BYTES: Final = 1024**2
_ASK_ABOVE_BYTES: Final = 1024**2
"""Before a larger recording is sent, the service is asked whether it has room: a proxy would store all of it first."""
_INLINE_BYTES: Final = 64 * 1024
"""Longer lines are decoded in a thread."""
_FINAL: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""The statuses with which a service refuses a recording for good."""
_LOST: Final = "runner_lost", "The service that ran this job ended or hung. Its log has the reason."


class _NotTaken(Exception):
    """No service has begun the work. Another attempt costs nothing."""

    def __init__(self, reason: str, retry_after_s: float = _RETRY_S) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class ServiceExecutor:
    """Implements `JobExecutor`. Uses the services in turn."""

    def __init__(self, services: Sequence[httpx.AsyncClient], *, patience_s: float = 60.0) -> None:
        """Send work to the `services`, which have the base address and the worker's key.

        `patience_s` is how long a service is looked for that takes the work.
        """
        self._services = services
        self._patience_s = patience_s
        self._turns = itertools.cycle(services)

    async def transcribe(self, work: Work, file: BinaryIO) -> AsyncGenerator[Event]:
        until = time.monotonic() + self._patience_s
        for n_tries in itertools.count(1):
            try:
                async with aclosing(self._attempt(next(self._turns), work, file)) as events:
                    async for event in events:
                        yield event
            except _NotTaken as error:
                all_asked = n_tries % len(self._services) == 0
                delay_s = error.retry_after_s if all_asked else 0.0
                if time.monotonic() + delay_s > until:
                    log.warning("no service takes the job", reason=str(error))
                    raise WorkReturned(str(error)) from error
                await asyncio.sleep(delay_s)
            else:
                return

    async def _attempt(self, service: httpx.AsyncClient, work: Work, file: BinaryIO) -> AsyncGenerator[Event]:
        has_started = False
        n_bytes = await asyncio.to_thread(file.seek, 0, 2)
        if n_bytes > _ASK_ABOVE_BYTES:
            await _ask_for_room(service, n_bytes)
        trailer = await asyncio.to_thread(wire.encode_work, work)
        traceparent = current_traceparent()
        headers = {
            "content-type": "application/octet-stream",
            "content-length": str(n_bytes + len(trailer)),
            wire.AUDIO_BYTES: str(n_bytes),
            **({} if traceparent is None else {"traceparent": traceparent}),
        }
        try:
            async with service.stream("POST", wire.PATH, headers=headers, content=_body(file, trailer)) as response:
                if response.status_code != HTTPStatus.OK:
                    raise _refusal(response, await response.aread())
                async for line in _lines(response):
                    event = await _decoded(line)
                    has_started = True
                    if isinstance(event, wire.Waiting):
                        continue
                    yield event
                    if isinstance(event, Transcript):
                        return
        except (httpx.TransportError, ValueError) as error:
            if not has_started:
                raise _NotTaken(f"{service.base_url}: {error!r}") from error
            raise AttemptFailed(*_LOST, is_final=False) from error
        raise AttemptFailed(*_LOST, is_final=False)


async def _ask_for_room(service: httpx.AsyncClient, n_audio_bytes: int) -> None:
    """Raise what `_refusal` returns, if the service would refuse a recording of this size now."""
    try:
        response = await service.get(wire.PATH, headers={wire.AUDIO_BYTES: str(n_audio_bytes)})
    except httpx.TransportError as error:
        raise _NotTaken(f"{service.base_url}: {error!r}") from error
    if response.status_code != HTTPStatus.NO_CONTENT:
        raise _refusal(response, response.content)


async def _body(file: BinaryIO, trailer: bytes) -> AsyncIterator[bytes]:
    await asyncio.to_thread(file.seek, 0)
    while part := await asyncio.to_thread(file.read, _PART_BYTES):
        yield part
    yield trailer


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the complete lines. httpx would also split at characters that JSON does not escape, such as U+2028."""
    parts: list[bytes] = []
    async for received in response.aiter_bytes():
        *ends, rest = received.split(b"\n")
        for end in ends:
            yield b"".join([*parts, end])
            parts.clear()
        parts.append(rest)


async def _decoded(line: bytes) -> Event | wire.Waiting:
    if len(line) < _INLINE_BYTES:
        return wire.decode_line(line)
    return await asyncio.to_thread(wire.decode_line, line)


def _refusal(response: httpx.Response, body: bytes) -> Exception:
    status, message = response.status_code, error_message(response, body)
    if status in _FINAL:
        return AttemptFailed(error_code(body) or "refused", message, is_final=True)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return AttemptFailed(error_code(body) or "internal_error", message, is_final=False)
    return _NotTaken(f"{response.url}: {message}", retry_after_s(response) or _RETRY_S)
