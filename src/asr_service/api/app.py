"""The web application of one slot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from asr_service import __version__, metrics
from asr_service.access.caller_turns import CallerTurns
from asr_service.access.keys import KeyRing, read_keys
from asr_service.access.networks import parse_networks
from asr_service.access.usage import KeyUsage
from asr_service.api import health
from asr_service.api.docs import page
from asr_service.api.docs.openapi import DOCUMENTED_KEYS
from asr_service.api.idempotency import IdempotencyStore
from asr_service.api.jobs import routes as jobs
from asr_service.api.jobs import runs
from asr_service.api.jobs.background import SlotJobs
from asr_service.api.middleware.authentication import KEY_CHECK, REALTIME, Authentication
from asr_service.api.middleware.body_limit import BodyLimit
from asr_service.api.middleware.canonical_path import CanonicalPath
from asr_service.api.middleware.cors import SafeHeaders, allow_origins
from asr_service.api.middleware.request_log import RequestLog
from asr_service.api.native import routes as native
from asr_service.api.openai import routes as openai
from asr_service.api.openai.realtime import routes as realtime
from asr_service.api.page import routes as web_page
from asr_service.api.problems import on_asr_error, on_crash, on_disconnect, on_http_error, on_os_error
from asr_service.engine.schedule.admission import caller_share
from asr_service.engine.slot import SlotEngine
from asr_service.errors import AsrError
from asr_service.jobs.running import wire
from asr_service.jobs.times import RunnerTimes
from asr_service.lifecycle import SlotState
from asr_service.results.opening import open_results
from asr_service.results.times import ResultTimes
from asr_service.settings import Settings
from asr_service.tracing import start_tracing, stop_tracing


def _routes(*routers: APIRouter) -> tuple[Route, ...]:
    return tuple(route for router in routers for route in router.routes if isinstance(route, Route))


def _paths(*routers: APIRouter) -> frozenset[str]:
    return frozenset(route.path for route in _routes(*routers))


# A router decides for all of its routes whether they need an API key. The exception is health.METRICS, by a setting.
_ROUTERS_WITH_KEY = (native.router, openai.router, realtime.router, jobs.router, runs.router)
_PUBLIC_ROUTERS = (health.router, page.router, web_page.router)
_PUBLIC = _paths(*_PUBLIC_ROUTERS)
"""The paths that need no API key."""
_PROBES = _paths(health.router) | {KEY_CHECK}
"""The paths that monitors and proxies poll."""


class SlotApplication:
    """The ASGI application of a slot, and the state that the process around it reads."""

    def __init__(self, engine: SlotEngine, times: RunnerTimes, result_times: ResultTimes) -> None:
        self._engine = engine
        web = web_application()
        web.state.engine = engine
        self._key_usage = web.state.key_usage = KeyUsage(engine.settings.key_usage_dir)
        self._idempotency = web.state.idempotency = IdempotencyStore(
            window_s=engine.settings.idempotency_window_s, max_bytes=engine.settings.idempotency_max_bytes
        )
        self._results = web.state.results = open_results(engine.settings, engine.slot.index, result_times)
        web.state.upload_turns = CallerTurns(
            "uploads",
            max_per_caller=caller_share(engine.settings.max_open_requests),
            timeout_s=engine.settings.upload_timeout_s,
        )
        web.state.layout_turns = CallerTurns(
            "transcripts to write in a format", max_per_caller=1, timeout_s=engine.settings.request_timeout_s
        )
        ring = read_keys(engine.settings)
        self._keys = {key.name: key for key in ring}
        web.state.needs_key = bool(ring)
        cache = None if self._results is None else self._results.cache
        self._jobs = SlotJobs(engine, times, self._charge, cache)
        web.state.jobs, web.state.job_runs = self._jobs.jobs, self._jobs.runs
        web.router.lifespan_context = self._lifespan
        metrics.show_failure_counters()
        named = web.openapi()["paths"].keys() | {REALTIME, wire.PATH}
        endpoints = {route.path_format: route.path_regex for route in web.state.routes if route.path_format in named}
        logged = RequestLog(_with_middleware(web, engine.settings, ring), endpoints=endpoints, probes=_PROBES)
        self._app: ASGIApp = CanonicalPath(
            logged, root_path=engine.settings.root_path, exact=frozenset({health.METRICS})
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    @property
    def ready(self) -> bool:
        return self._engine.ready

    @property
    def draining(self) -> bool:
        return self._engine.state is SlotState.DRAINING

    @property
    def busy(self) -> bool:
        return self._engine.busy or self._jobs.busy

    def begin_drain(self) -> None:
        self._engine.begin_drain()
        self._jobs.begin_drain()

    def _charge(self, owner: str, audio_s: float) -> None:
        key = self._keys.get(owner)
        if key is not None:
            self._key_usage.charge(key, audio_s)

    @asynccontextmanager
    async def _lifespan(self, _app: Any) -> AsyncIterator[None]:
        start_tracing(self._engine.slot.index)
        await self._engine.start()
        if self._results is not None:
            self._results.start()
        try:
            async with self._jobs.running():
                yield
        finally:
            await self._engine.close()
            await self._idempotency.close()
            if self._results is not None:
                await self._results.close()
            self._key_usage.close()
            await asyncio.to_thread(stop_tracing)


class _HeadAsGet:
    """Handles HEAD as GET, for uptime monitors and `curl -I`. The server around the application drops the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


def _with_middleware(web: ASGIApp, settings: Settings, ring: KeyRing) -> ASGIApp:
    """Wrap the application, innermost middleware first."""
    inside = parse_networks(settings.metrics_inside)
    limited = BodyLimit(
        _HeadAsGet(web),
        max_bytes=settings.max_upload_bytes,
        timeout_s=settings.upload_timeout_s,
        min_bytes_per_s=settings.upload_min_bytes_per_s,
        more_bytes={wire.PATH: wire.MAX_WORK_BYTES},
    )
    authenticated = Authentication(
        limited,
        ring=ring,
        public=_PUBLIC - {health.METRICS},
        public_folder=web_page.FILES,
        inside_paths=frozenset({health.METRICS} if inside else ()),
        inside=inside,
    )
    # CORS is outside of authentication: a browser sends its preflight without a key, and may read a refusal.
    return SafeHeaders(allow_origins(authenticated, settings.cors_origins))


def web_application() -> FastAPI:
    """Make the routes, without a slot behind them."""
    web = FastAPI(
        title="asr-service",
        version=__version__,
        description="Speech to text in 99 languages, and from them into English.",
        openapi_url=None,  # docs.page serves the document
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat the Host header of the request, and the client would not resend the body.
        redirect_slashes=False,
        exception_handlers={
            AsrError: on_asr_error,
            HTTPException: on_http_error,
            ClientDisconnect: on_disconnect,
            OSError: on_os_error,
            Exception: on_crash,
        },
    )
    web.state.routes = _routes(*_ROUTERS_WITH_KEY, *_PUBLIC_ROUTERS)
    for router in _ROUTERS_WITH_KEY:
        web.include_router(router, dependencies=DOCUMENTED_KEYS)
    for router in (*_PUBLIC_ROUTERS, realtime.websockets):
        web.include_router(router)
    return web


def openapi_schema() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return web_application().openapi()
