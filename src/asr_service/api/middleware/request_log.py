"""Gives each request and WebSocket an id, log lines, metrics and a trace. Pure ASGI, outermost."""

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_service import metrics
from asr_service.api.cache_header import HEADER as CACHE_HEADER
from asr_service.api.cache_header import outcome_of
from asr_service.api.middleware.authentication import key_of
from asr_service.tracing import RequestTrace, request_trace

log = structlog.get_logger(__name__)

_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_NOT_SENT = 499
_SWITCHED: Final = 101
"""The status of a WebSocket that was accepted."""
_STANDARD_CODES: Final = frozenset(range(1000, 1016))
"""The close codes of RFC 6455 and its registry. A client can send others, and must not create labels."""
_NO_CLOSE_FRAME: Final = 1006
"""The close code of a WebSocket whose connection was lost."""


@dataclass(slots=True)
class _Exchange:
    """One request, or one WebSocket from its request to its end."""

    scope: Scope
    endpoint: str
    request_id: str
    began_s: float = field(default_factory=time.monotonic)
    status: int = _NOT_SENT
    close_code: int | None = None
    """The code of the first close frame, from either side."""
    lost: OSError | None = None
    """The error of a message that could not be sent, because the client of a WebSocket has disconnected."""

    @property
    def is_websocket(self) -> bool:
        """Return whether a WebSocket was accepted."""
        return self.status == _SWITCHED

    @property
    def method(self) -> str:
        return str(self.scope.get("method", "GET"))

    @property
    def path(self) -> str:
        """Return the path, quoted, because it may contain line ends and terminal control characters."""
        return quote(self.scope["path"][:200])

    @property
    def key(self) -> dict[str, str]:
        key = key_of(self.scope)
        return {} if key is None else {"key": key.name}

    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_s


class RequestLog:
    """Takes X-Request-ID from the request, or makes one, and adds it to the response and to every log line.

    A WebSocket has a line when it opens and a line when it closes. One that is refused has the line of a request.
    """

    def __init__(self, app: ASGIApp, *, endpoints: Mapping[str, re.Pattern[str]], probes: AbstractSet[str]) -> None:
        """Configure which paths are named and which are quiet.

        `endpoints` has the names of paths, such as `/jobs/{job_id}`, and the pattern of each. Metrics name the rest
        `other`, so that no caller can create labels.
        `probes` are logged at level debug and not traced.
        """
        self._app = app
        self._endpoints = endpoints
        self._probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
        exchange = _Exchange(scope, self._endpoint(scope), request_id)
        structlog.contextvars.clear_contextvars()  # a pipelined request starts in the context of the one before it

        with structlog.contextvars.bound_contextvars(request_id=request_id), self._traced(exchange) as trace:
            try:
                await self._app(scope, _observed_receive(exchange, receive), _observed_send(exchange, send))
            except Exception as error:
                # The response was sent, or can no longer be. The server outside does not know the request id.
                if error is not exchange.lost:
                    log.exception("unexpected error")
            finally:
                trace.set_status(exchange.status)
                if exchange.is_websocket:
                    _record_close(exchange)
                else:
                    self._record(exchange)

    @contextmanager
    def _traced(self, exchange: _Exchange) -> Iterator[RequestTrace]:
        """Trace the request and bind the trace id to its log lines. Probes would outnumber all other traces."""
        if exchange.scope["path"] in self._probes:
            yield RequestTrace()
            return
        name = f"{exchange.method} {exchange.endpoint}"
        attributes = {
            "http.request.method": exchange.method,
            "http.route": exchange.endpoint,
            "asr.request_id": exchange.request_id,
        }
        with request_trace(name, Headers(scope=exchange.scope), attributes) as trace:
            bound = {} if trace.trace_id is None else {"trace_id": trace.trace_id}
            with structlog.contextvars.bound_contextvars(**bound):
                yield trace

    def _endpoint(self, scope: Scope) -> str:
        path: str = scope["path"]
        if path in self._endpoints:
            return path
        return next((name for name, pattern in self._endpoints.items() if pattern.fullmatch(path)), "other")

    def _record(self, exchange: _Exchange) -> None:
        lasted_s = exchange.elapsed_s()
        _count(exchange)
        metrics.REQUEST_DURATION.labels(exchange.endpoint).observe(lasted_s)
        write = log.debug if exchange.scope["path"] in self._probes else log.info
        write(
            "request",
            method=exchange.method,
            path=exchange.path,
            status=exchange.status,
            seconds=round(lasted_s, 3),
            **exchange.key,
            **({"cache": outcome.value} if (outcome := outcome_of(exchange.scope)) else {}),
        )


def _observed_send(exchange: _Exchange, send: Send) -> Send:
    async def observed(message: Message) -> None:
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                exchange.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = exchange.request_id
                if outcome := outcome_of(exchange.scope):
                    headers[CACHE_HEADER] = outcome.value
            case "websocket.accept":
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["x-request-id"] = exchange.request_id
            case "websocket.close":
                exchange.close_code = exchange.close_code or message.get("code", 1000)
        try:
            await send(message)
        except OSError as error:
            exchange.lost = error
            raise
        if message["type"] == "websocket.accept":
            exchange.status = _SWITCHED
            _count(exchange)
            log.info("websocket opened", path=exchange.path, **exchange.key)

    return observed


def _observed_receive(exchange: _Exchange, receive: Receive) -> Receive:
    async def observed() -> Message:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            exchange.close_code = exchange.close_code or message.get("code", _NO_CLOSE_FRAME)
        return message

    return observed


def _count(exchange: _Exchange) -> None:
    status = str(exchange.status)
    metrics.REQUESTS.labels(exchange.endpoint, status).inc()
    key = key_of(exchange.scope)
    if key is not None:
        metrics.KEY_REQUESTS.labels(key.name, status).inc()


def _record_close(exchange: _Exchange) -> None:
    """Log the end of a WebSocket. Its hour is no duration of a request, so no histogram has it."""
    code = int(exchange.close_code or _NO_CLOSE_FRAME)  # `websockets` has members of an enumeration
    metrics.WEBSOCKETS_CLOSED.labels(str(code) if code in _STANDARD_CODES else "other").inc()
    log.info(
        "websocket closed",
        path=exchange.path,
        code=code,
        seconds=round(exchange.elapsed_s(), 3),
        **exchange.key,
    )
