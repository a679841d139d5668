"""Each request has an id, a line in the log, its place in the metrics and its trace. Pure ASGI, outermost."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_service import metrics
from asr_service.api.middleware.authentication import caller_of
from asr_service.tracing import RequestTrace, request_trace

log = structlog.get_logger(__name__)

_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_QUIET = frozenset({"/health", "/health/live", "/health/ready", "/health/key", "/metrics"})
_NOT_SENT = 499


class RequestLog:
    """X-Request-ID in (where it is usable) and out; it is bound to every line logged for the request."""

    def __init__(self, app: ASGIApp, *, endpoints: frozenset[str]) -> None:
        """`endpoints` are the paths that metrics name; the rest are `other`, so that no caller can make labels."""
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
        status, began = _NOT_SENT, time.monotonic()
        structlog.contextvars.clear_contextvars()  # a request sent close behind another begins in that one's context

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id), self._traced(scope, request_id) as trace:
            try:
                await self._app(scope, receive, observed)
            except Exception:
                # It has been answered, or can be no more. Further out nobody knows the request's id.
                log.exception("unexpected error")
            finally:
                trace.answered(status)
                self._note(scope, status, time.monotonic() - began)

    @contextmanager
    def _traced(self, scope: Scope, request_id: str) -> Iterator[RequestTrace]:
        """Probes have no traces: there would be nothing else. The trace's id joins the request's in the log."""
        if scope["path"] in _QUIET:
            yield RequestTrace()
            return
        endpoint, method = self._endpoint(scope), scope["method"]
        attributes = {"http.request.method": method, "http.route": endpoint, "asr.request_id": request_id}
        with request_trace(f"{method} {endpoint}", Headers(scope=scope), attributes) as trace:
            known = {} if trace.trace_id is None else {"trace_id": trace.trace_id}
            with structlog.contextvars.bound_contextvars(**known):
                yield trace

    def _endpoint(self, scope: Scope) -> str:
        path: str = scope["path"]
        return path if path in self._endpoints else "other"

    def _note(self, scope: Scope, status: int, lasted_s: float) -> None:
        path, endpoint = scope["path"], self._endpoint(scope)
        metrics.REQUESTS.labels(endpoint, str(status)).inc()
        metrics.REQUEST_DURATION.labels(endpoint).observe(lasted_s)
        caller = caller_of(scope)
        if caller is not None:
            metrics.KEY_REQUESTS.labels(caller.name, str(status)).inc()
        named = {} if caller is None else {"key": caller.name}
        # Quoted, since an address may hold line ends and what terminals obey.
        write = log.debug if path in _QUIET else log.info
        write(
            "request",
            method=scope["method"],
            path=quote(path[:200]),
            status=status,
            seconds=round(lasted_s, 3),
            **named,
        )
