"""Checks the API key before any other part of a request is read. Pure ASGI."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import parse_qsl

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from asr_service.access.caller import Caller, identify_caller
from asr_service.access.keys import Key, KeyRing
from asr_service.access.networks import Network, contains_address
from asr_service.api.problems import problem, status_of
from asr_service.errors import AsrError, MalformedRequest, MissingKey, WrongKey

KEY_CHECK: Final = "/health/key"
"""Responds 204 if the request has a valid key, and does nothing else. A proxy asks it before it accepts an upload."""
_HINT: Final = "Send `Authorization: Bearer KEY` or `X-API-Key: KEY`."
_QUERY_NAMES: Final = frozenset({"api_key", "apikey", "api-key", "x-api-key", "key", "token", "access_token"})
"""Query parameters in which other services take a key. This service ignores them; its error explains that."""


class Authentication:
    """Responds 401 to requests without a valid key, except at public paths.

    Sets `request.state.key` to the Key. With an empty ring, no key is required and none is set.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ring: KeyRing,
        public: AbstractSet[str],
        public_folder: str,
        inside_paths: AbstractSet[str],
        inside: Sequence[Network],
    ) -> None:
        """Configure which paths need no key.

        `public` has the paths that need none, and so does every path that begins with `public_folder`; `inside_paths`
        those that need none from the networks `inside`.
        """
        self._app = app
        self._ring = ring
        self._public = public
        self._public_folder = public_folder
        self._inside_paths = inside_paths
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._ring or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        is_check = scope["path"] == KEY_CHECK
        try:
            key = self._identify(scope)
        except AsrError as error:
            # A refused check is not counted as a failure: the request that follows it will be.
            refusal = Response(status_code=status_of(error)) if is_check else problem(error)
            await refusal(scope, receive, send)
            return
        if is_check:
            await Response(status_code=204)(scope, receive, send)
            return
        scope.setdefault("state", {})["key"] = key
        with structlog.contextvars.bound_contextvars(key=key.name):
            await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        is_public = path in self._public or path.startswith(self._public_folder)
        return is_public or (path in self._inside_paths and self._is_inside(scope))

    def _is_inside(self, scope: Scope) -> bool:
        """Return whether the client has an inside address. Without an address, it is a proxy on a Unix socket."""
        return scope["client"] is None or contains_address(self._inside, scope["client"][0])

    def _identify(self, scope: Scope) -> Key:
        """Return the request's key.

        Raises MissingKey: there is none. Raises WrongKey: it is invalid.
        Raises MalformedRequest: there is more than one.
        """
        secret = _secret(Headers(scope=scope))
        if not secret:
            raise MissingKey(f"This service requires an API key. {_HINT}{_query_hint(scope)}")
        key = self._ring.find(secret.encode("latin-1"))
        if key is None:
            raise WrongKey("Invalid API key.")
        return key


def key_of(scope: Scope) -> Key | None:
    """Return the key that the request was authenticated with; None without one."""
    key: Key | None = scope.get("state", {}).get("key")
    return key


def caller_of(scope: Scope) -> Caller:
    """Return the caller of a request: its key or, without one, its address."""
    client = scope.get("client")
    return identify_caller(key_of(scope), client[0] if client else None)


def _secret(headers: Headers) -> str:
    """Return the one key in the headers, or an empty string. Ignores schemes other than Bearer, as of a proxy."""
    authorizations = headers.getlist("authorization")
    if len(authorizations) > 1:
        raise MalformedRequest("There is more than one Authorization header. Send one.")
    keys = {value.strip() for value in headers.getlist("x-api-key")}
    for value in authorizations:
        scheme, _, credentials = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            keys.add(credentials.strip())
    keys.discard("")  # clients send an empty key where the user has not set one
    if len(keys) > 1:
        raise MalformedRequest("There is more than one API key. Send one, in Authorization or in X-API-Key.")
    return keys.pop() if keys else ""


def _query_hint(scope: Scope) -> str:
    names = {name.lower() for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)}
    return " A key in the URL is ignored, because URLs are logged." if names & _QUERY_NAMES else ""
