"""Asks for an API key before anything else of a request is looked at. Pure ASGI."""

from typing import Final
from urllib.parse import parse_qsl

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from asr_service.access.keys import Key, KeyRing
from asr_service.api.problems import problem, status_of
from asr_service.errors import AsrError, MalformedRequest, MissingKey, WrongKey

_OPEN: Final = frozenset({"/health", "/health/live", "/health/ready", "/docs", "/openapi.json"})
_OPEN_BELOW: Final = "/docs/"
_METRICS: Final = "/metrics"
_CHECK: Final = "/health/key"
"""Answers whether the key that is shown may call, and no more: for a proxy that is about to receive an upload."""
_HOW: Final = "send `Authorization: Bearer KEY` or `X-API-Key: KEY`"
_NAMES_IN_QUERIES: Final = frozenset({"api_key", "apikey", "api-key", "x-api-key", "key", "token", "access_token"})


class Authentication:
    """Answers 401 or 403 at all addresses but the open ones. `request.state.caller` is the Key that was shown.

    With an empty ring nothing is asked for, and there is no caller.
    """

    def __init__(self, app: ASGIApp, *, ring: KeyRing, metrics_need_key: bool) -> None:
        self._app = app
        self._ring = ring
        self._open = _OPEN if metrics_need_key else _OPEN | {_METRICS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._ring or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            caller = self._identify(scope)
        except AsrError as error:
            # What was only asked is not counted: the request itself will be.
            refusal = Response(status_code=status_of(error)) if scope["path"] == _CHECK else problem(error)
            await refusal(scope, receive, send)
            return
        if scope["path"] == _CHECK:
            await Response(status_code=204)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        with structlog.contextvars.bound_contextvars(key=caller.name):
            await self._app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(_OPEN_BELOW)

    def _identify(self, scope: Scope) -> Key:
        """Raises MissingKey, WrongKey, and MalformedRequest where it is not clear which key is meant."""
        shown = _shown(Headers(scope=scope))
        if not shown:
            raise MissingKey(f"this service asks for an API key: {_HOW}{_not_in_the_query(scope)}")
        caller = self._ring.find(shown.encode("latin-1"))
        if caller is None:
            raise WrongKey("the API key is none of this service's")
        return caller


def caller_of(scope: Scope) -> Key | None:
    """Who was let in; None where no key was asked for, or none was right."""
    caller: Key | None = scope.get("state", {}).get("caller")
    return caller


def _shown(headers: Headers) -> str:
    """The one key that was sent, or an empty text. Another scheme than Bearer is some proxy's affair."""
    authorizations = headers.getlist("authorization")
    if len(authorizations) > 1:
        raise MalformedRequest("there is more than one Authorization header")
    keys = [given.strip() for given in headers.getlist("x-api-key")]
    for given in authorizations:
        scheme, _, credentials = given.strip().partition(" ")
        if scheme.lower() == "bearer":
            keys.append(credentials.strip())
    if len(keys) > 1:
        raise MalformedRequest("there is more than one API key: send one header, Authorization or X-API-Key")
    return keys[0] if keys else ""


def _not_in_the_query(scope: Scope) -> str:
    names = {name.lower() for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)}
    return "; a key in the address is not taken, since addresses are logged" if names & _NAMES_IN_QUERIES else ""
