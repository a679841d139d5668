"""The web application of one slot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from asr_service import __version__
from asr_service.access.keys import read_keys
from asr_service.access.usage import KeyUsage
from asr_service.api import health
from asr_service.api.docs.openapi import DOCUMENTED_KEYS, pages
from asr_service.api.idempotency import IdempotencyStore
from asr_service.api.middleware.authentication import Authentication
from asr_service.api.middleware.body_limit import BodyLimit
from asr_service.api.middleware.cors import SafeHeaders, open_to_origins
from asr_service.api.middleware.head import HeadAsGet
from asr_service.api.middleware.request_log import RequestLog
from asr_service.api.native import languages, transcribe
from asr_service.api.openai import models, routes
from asr_service.api.problems import on_asr_error, on_crash, on_http_error
from asr_service.engine.slot import SlotEngine
from asr_service.errors import AsrError
from asr_service.lifecycle import SlotState
from asr_service.settings import Settings
from asr_service.tracing import start_tracing, stop_tracing


class SlotApplication:
    """The ASGI application, and what the process around it needs to know."""

    def __init__(self, service: SlotEngine) -> None:
        self._service = service
        web = web_application()
        web.state.service = service
        self._key_usage = web.state.key_usage = KeyUsage(service.settings.key_usage_dir)
        self._answers = web.state.answers = IdempotencyStore(
            window_s=service.settings.idempotency_window_s, max_bytes=service.settings.idempotency_max_bytes
        )
        web.router.lifespan_context = self._lifespan
        endpoints = frozenset(web.openapi()["paths"])
        self._app = RequestLog(_behind_the_door(web, service.settings), endpoints=endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    @property
    def ready(self) -> bool:
        return self._service.ready

    @property
    def draining(self) -> bool:
        return self._service.state is SlotState.DRAINING

    @property
    def busy(self) -> bool:
        return self._service.busy

    def begin_drain(self) -> None:
        self._service.begin_drain()

    @asynccontextmanager
    async def _lifespan(self, _app: Any) -> AsyncIterator[None]:
        start_tracing(self._service.slot.index)
        await self._service.start()
        try:
            yield
        finally:
            await self._service.close()
            await self._answers.close()
            self._key_usage.close()
            await asyncio.to_thread(stop_tracing)


def _behind_the_door(web: ASGIApp, settings: Settings) -> ASGIApp:
    """From the inside out. Raises ConfigurationError."""
    limited = BodyLimit(
        HeadAsGet(web),
        max_bytes=settings.max_upload_bytes,
        timeout_s=settings.upload_timeout_s,
        min_bytes_per_s=settings.upload_min_bytes_per_s,
    )
    keyed = Authentication(limited, ring=read_keys(settings), metrics_need_key=settings.metrics_need_key)
    # Outside of the keys: a browser asks without one whether it may ask, and shows a page why it was refused.
    return SafeHeaders(open_to_origins(keyed, settings.cors_origins))


def web_application() -> FastAPI:
    """The addresses, without a service behind them."""
    web = FastAPI(
        title="asr-service",
        version=__version__,
        description="Speech to text in 99 languages, and from them into English.",
        docs_url=None,
        redoc_url=None,
        # A redirect would name the host that the request claimed to be for, and lose the body.
        redirect_slashes=False,
        exception_handlers={
            AsrError: on_asr_error,
            HTTPException: on_http_error,
            Exception: on_crash,
        },
    )
    for router in (transcribe.router, languages.router, routes.router, models.router):
        web.include_router(router, dependencies=DOCUMENTED_KEYS)
    for router in (health.router, pages):
        web.include_router(router)
    return web


def openapi_schema() -> dict[str, Any]:
    """The OpenAPI document."""
    return web_application().openapi()
