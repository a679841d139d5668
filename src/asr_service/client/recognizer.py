"""`asr-service transcribe --server`: a service does the work, and answers line by line."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import BinaryIO, Final

import httpx

from asr_service.client.ndjson import AnswerFailed, AnswerReader
from asr_service.errors import AsrError, StartupError
from asr_service.transcript import Segment, Transcript

_PATIENCE_S: Final = 600.0
"""How long a recording is offered to a service that says to come again, or cannot be reached any more."""
_MOST_BREAKS: Final = 3
"""Answers that may be broken off: what brings a service down should not be sent to it for ever."""
_PAUSE_S: Final = 2.0
_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 120.0
# A service sends a line at least every ASR_REQUEST_TIMEOUT_S (300 by default); before the first, a proxy may hold back.
_TIMEOUT: Final = httpx.Timeout(10.0, read=900.0, write=120.0, pool=None)
_COME_AGAIN: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_BROKEN_OFF: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
_FOR_ALL: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_COME_AGAIN_CODES: Final = frozenset({"overloaded", "not_ready", "engine_stopped", "unavailable"})


class Refused(AsrError):
    """The service's answer for one recording."""

    code = "refused"


class ServerUnusable(StartupError):
    """Nothing can be had from this address. 69 is EX_UNAVAILABLE of sysexits.h."""

    code = "server_unusable"
    exit_code = 69


class _TryAgain(Exception):
    """Why, and when, where the service says. `broken` where it had begun."""

    def __init__(self, failure: AsrError, *, after_s: float | None = None, broken: bool = False) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.after_s = after_s
        self.broken = broken


class _Patience:
    """How often one recording is offered."""

    def __init__(self) -> None:
        self._n_breaks = 0
        self._turned_away_since: float | None = None

    def ends_with(self, again: _TryAgain, pause_s: float) -> bool:
        if again.broken:
            self._n_breaks += 1
            self._turned_away_since = None
            return self._n_breaks >= _MOST_BREAKS
        now = time.monotonic()
        self._turned_away_since = self._turned_away_since or now
        return now + pause_s - self._turned_away_since > _PATIENCE_S


class RemoteRecognizer:
    """Sends recordings to a service and reads its NDJSON."""

    def __init__(self, client: httpx.AsyncClient, fields: Iterable[tuple[str, str]], *, pause_s: float) -> None:
        self._client = client
        self._fields = dict(fields) | {"response_format": "ndjson"}
        self._pause_s = pause_s
        self._reached = False

    async def transcribe(self, file: BinaryIO) -> AsyncGenerator[Segment | Transcript]:
        patience = _Patience()
        while True:
            try:
                async with aclosing(self._once(file)) as events:
                    async for event in events:
                        yield event
            except _TryAgain as again:
                pause_s = self._pause_s if again.after_s is None else again.after_s
                if patience.ends_with(again, pause_s):
                    raise again.failure from again
                await asyncio.sleep(pause_s)
            else:
                return

    async def _once(self, file: BinaryIO) -> AsyncGenerator[Segment | Transcript]:
        file.seek(0)
        # What a file is called is nobody's business but its owner's.
        upload = {"file": ("recording", file, "application/octet-stream")}
        try:
            async with self._client.stream("POST", "/transcribe", data=self._fields, files=upload) as answer:
                self._reached = True
                if answer.status_code != HTTPStatus.OK:
                    raise _failure(answer, await answer.aread())
                async with aclosing(_read(answer)) as events:
                    async for event in events:
                        yield event
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure = ServerUnusable(f"{self._client.base_url} cannot be reached: {error}")
            raise _TryAgain(failure) if self._reached else failure from error
        except httpx.TransportError as error:
            raise _TryAgain(Refused(f"the connection broke: {error!r}"), broken=True) from error


@asynccontextmanager
async def remote_recognizer(
    url: str, api_key: str | None, fields: Iterable[tuple[str, str]], *, pause_s: float = _PAUSE_S
) -> AsyncIterator[RemoteRecognizer]:
    """Call the service at `url`. `pause_s` is waited before another try where the service does not say how long."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT, limits=limits) as client:
        yield RemoteRecognizer(client, fields, pause_s=pause_s)


async def _read(answer: httpx.Response) -> AsyncGenerator[Segment | Transcript]:
    """Everything that the answer's lines tell. Raises _TryAgain where the last is missing."""
    reader = AnswerReader()
    event: Segment | Transcript | None = None
    try:
        async for line in answer.aiter_lines():
            event = reader.read(line) if line else None
            if event is not None:
                yield event
    except AnswerFailed as error:
        failure = Refused(error.message)
        raise _TryAgain(failure, broken=True) if error.code in _COME_AGAIN_CODES else failure from error
    except ValueError as error:
        raise ServerUnusable(f"{answer.url} does not answer as this service does: {error}") from error
    if not isinstance(event, Transcript):
        raise _TryAgain(Refused("the answer was broken off"), broken=True)


def _failure(answer: httpx.Response, body: bytes) -> Exception:
    message = _message(answer, body)
    if answer.status_code in _COME_AGAIN:
        return _TryAgain(Refused(message), after_s=_retry_after_s(answer))
    if answer.status_code in _BROKEN_OFF and answer.headers.get("x-should-retry") != "false":
        return _TryAgain(Refused(message), broken=True)
    if answer.status_code in _FOR_ALL or answer.is_redirect:
        return ServerUnusable(f"{answer.url}: {message}")
    return Refused(message)


def _message(answer: httpx.Response, body: bytes) -> str:
    """The service's own words; a proxy's status where the answer is a proxy's."""
    if answer.is_redirect:
        return f"the service is elsewhere: {answer.headers.get('location')}"
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"


def _retry_after_s(answer: httpx.Response) -> float | None:
    """None where it does not say, or gives a date, as this service does not."""
    said = answer.headers.get("retry-after", "")
    return min(max(float(said), _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S) if said.isdecimal() else None
