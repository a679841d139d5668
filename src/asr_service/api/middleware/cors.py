"""Response headers that restrict browsers, and CORS for the origins that the settings allow. Pure ASGI."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_service.api.problems import problem
from asr_service.errors import PageRefused

_EXPOSED_HEADERS: Final = (
    "Idempotent-Replayed",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-ASR-Cache",
    "X-ASR-Warning",
    "X-Request-ID",
    "X-Should-Retry",
)
_MAX_ASKED_CHARS: Final = 2000
"""The response repeats them, and Nginx answers 502 if the headers of a response exceed 4 kB."""
_SAFE_HEADERS: Final = {
    "cache-control": "no-store",  # a response may contain what a person said
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class SafeHeaders:
    """Adds these headers to every response. A header that a response sets itself is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def allow_origins(app: ASGIApp, origins: str | None) -> ASGIApp:
    """Let web pages of these comma-separated origins call the service; None allows no origin.

    Credentials such as cookies are never allowed. A page sends its API key in a header, if a key is required.
    """
    allowed = [] if origins is None else [origin.strip() for origin in origins.split(",")]
    app = _WebSocketOrigins(app, allowed)
    if not allowed:
        return app
    return _Cors(
        app,
        allow_origins=allowed,
        allow_methods=("DELETE", "GET", "HEAD", "POST"),
        # Clients of OpenAI's API send a dozen headers of their own (X-Stainless-...). No header means anything here
        # that an allowed page should not send, so all are allowed.
        allow_headers=("*",),
        expose_headers=_EXPOSED_HEADERS,
        # Chrome asks so before a page may call a service on the user's own machine or network.
        allow_private_network=True,
        max_age=600,
    )


class _Cors(CORSMiddleware):
    """Starlette's CORS middleware, with refusals in the shape of every error response."""

    def preflight_response(self, request_headers: Headers) -> Response:
        if len(request_headers.get("access-control-request-headers", "")) > _MAX_ASKED_CHARS:
            return problem(
                PageRefused(
                    f"Access-Control-Request-Headers has more than {_MAX_ASKED_CHARS} characters. Ask for fewer."
                )
            )
        response = super().preflight_response(request_headers)
        if response.status_code < 400:  # noqa: PLR2004
            return response
        refused = bytes(response.body).decode().removeprefix("Disallowed CORS ")
        refusal = problem(
            PageRefused(
                f"This {refused} is not allowed. ASR_CORS_ORIGINS lists the allowed origins; methods: GET, POST, "
                "DELETE."
            )
        )
        refusal.headers["vary"] = response.headers["vary"]
        return refusal


class _WebSocketOrigins:
    """Refuses WebSockets of web pages of other origins. A browser sends the origin, and does not apply CORS to them.

    A page on the host of the service itself is allowed. So is a client without an origin: it is not a browser.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._is_allowed(Headers(scope=scope)):
            refusal = problem(
                PageRefused("This origin is not allowed. ASR_CORS_ORIGINS lists the origins whose pages may connect.")
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin in self._allowed:
            return True
        return _host(origin) == _host(f"//{headers.get('host', '')}") != ""


def _host(url: str) -> str:
    """Return the host of a URL without its port, which Nginx leaves out of the header `Host`."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
