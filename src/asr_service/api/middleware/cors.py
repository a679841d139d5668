"""What browsers are told: which pages may call, and that no answer is more than it says it is. Pure ASGI."""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_service.api.problems import problem
from asr_service.errors import PageRefused

_ANSWER_HEADERS: Final = ("Idempotent-Replayed", "Retry-After", "WWW-Authenticate", "X-Request-ID", "X-Should-Retry")
_SAFE: Final = {
    "cache-control": "no-store",  # an answer may hold what somebody said
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class SafeHeaders:
    """Every answer has these headers; one that an answer sets itself stays as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


def open_to_origins(app: ASGIApp, origins: str | None) -> ASGIApp:
    """Let pages of these origins call, with commas between them; None is none.

    Cookies are never asked for: a caller shows its key, or none is needed.
    """
    if origins is None:
        return app
    return _Pages(
        app,
        allow_origins=[origin.strip() for origin in origins.split(",")],
        allow_methods=("GET", "HEAD", "POST"),
        # Any: clients of OpenAI's API send a dozen of their own (X-Stainless-...), and none has a meaning here that a
        # page which may call at all should not have.
        allow_headers=("*",),
        expose_headers=_ANSWER_HEADERS,
        max_age=600,
    )


class _Pages(CORSMiddleware):
    """Refuses in the one shape of every error."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:  # noqa: PLR2004
            return answer
        refused = bytes(answer.body).decode().removeprefix("Disallowed CORS ")
        refusal = problem(
            PageRefused(f"{refused} refused: ASR_CORS_ORIGINS names whose pages may call, with GET or POST")
        )
        refusal.headers["vary"] = answer.headers["vary"]
        return refusal
