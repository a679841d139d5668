"""Gives each request an id, a log line, metrics and a trace. Pure ASGI, outermost."""

import re
import time
import uuid
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
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


class RequestLog:
    """Takes X-Request-ID from the request, or makes one, and adds it to the response and to every log line."""

    def __init__(self, app: ASGIApp, *, endpoints: AbstractSet[str], probes: AbstractSet[str]) -> None:
        """Configure which paths are named and which are quiet.

        `endpoints` are the paths that metrics name, and may have parameters: `/jobs/{job_id}`. The rest are `other`, so
        that no caller can create labels.
        `probes` are logged at level debug and not traced.
        """
        self._app = app
        self._endpoints = endpoints
        self._templates = {
            template: re.compile(re.sub(r"\{\w+\}", "[^/]+", template)) for template in endpoints if "{" in template
        }
        self._probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
        status, began = _NOT_SENT, time.monotonic()
        structlog.contextvars.clear_contextvars()  # a pipelined request starts in the context of the one before it

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                if outcome := outcome_of(scope):
                    headers[CACHE_HEADER] = outcome.value
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id), self._traced(scope, request_id) as trace:
            try:
                await self._app(scope, receive, observed)
            except Exception:
                # The response was sent, or can no longer be. The server outside does not know the request id.
                log.exception("unexpected error")
            finally:
                trace.set_status(status)
                self._record(scope, status, time.monotonic() - began)

    @contextmanager
    def _traced(self, scope: Scope, request_id: str) -> Iterator[RequestTrace]:
        """Trace the request and bind the trace id to its log lines. Probes would outnumber all other traces."""
        if scope["path"] in self._probes:
            yield RequestTrace()
            return
        endpoint, method = self._endpoint(scope), scope["method"]
        attributes = {"http.request.method": method, "http.route": endpoint, "asr.request_id": request_id}
        with request_trace(f"{method} {endpoint}", Headers(scope=scope), attributes) as trace:
            bound = {} if trace.trace_id is None else {"trace_id": trace.trace_id}
            with structlog.contextvars.bound_contextvars(**bound):
                yield trace

    def _endpoint(self, scope: Scope) -> str:
        path: str = scope["path"]
        if path in self._endpoints:
            return path
        return next((name for name, pattern in self._templates.items() if pattern.fullmatch(path)), "other")

    def _record(self, scope: Scope, status: int, lasted_s: float) -> None:
        path, endpoint = scope["path"], self._endpoint(scope)
        metrics.REQUESTS.labels(endpoint, str(status)).inc()
        metrics.REQUEST_DURATION.labels(endpoint).observe(lasted_s)
        key = key_of(scope)
        if key is not None:
            metrics.KEY_REQUESTS.labels(key.name, str(status)).inc()
        named = {} if key is None else {"key": key.name}
        if outcome := outcome_of(scope):
            named["cache"] = outcome.value
        write = log.debug if path in self._probes else log.info
        # The path is quoted because it may contain line ends and terminal control characters.
        write(
            "request",
            method=scope["method"],
            path=quote(path[:200]),
            status=status,
            seconds=round(lasted_s, 3),
            **named,
        )
