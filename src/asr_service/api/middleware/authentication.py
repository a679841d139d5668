"""Checks the API key before any other part of a request is read, or a WebSocket is accepted. Pure ASGI."""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import parse_qsl

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from asr_service.access import client_secrets
from asr_service.access.caller import Caller, identify_caller
from asr_service.access.client_secrets import ClientSecret, read_secret
from asr_service.access.keys import Key, KeyRing
from asr_service.access.networks import Network, contains_address
from asr_service.api.problems import problem, status_of
from asr_service.errors import AsrError, MalformedRequest, MissingKey, WrongKey

KEY_CHECK: Final = "/health/key"
"""Responds 204 if the request has a valid key, and does nothing else. A proxy asks it before it accepts an upload."""
REALTIME: Final = "/v1/realtime"
"""The only path of WebSockets, and the only one at which a client secret is valid."""
_PROTOCOL_WITH_KEY: Final = "openai-insecure-api-key."
"""A browser cannot set headers of a WebSocket. OpenAI's SDK offers the key as a sub-protocol with this prefix."""
_HINT: Final = "Send `Authorization: Bearer KEY` or `X-API-Key: KEY`."
_QUERY_NAMES: Final = frozenset({"api_key", "apikey", "api-key", "x-api-key", "key", "token", "access_token"})
"""Query parameters in which other services take a key. This service ignores them; its error explains that."""


class Authentication:
    """Responds 401 to requests and WebSockets without a valid key, except at public paths.

    Sets `request.state.key` to the Key. With an empty ring, no key is required and none is set. The application inside
    does not see the sub-protocol in which a browser sends its key.
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
        if scope["type"] == "websocket":
            await self._authenticate_websocket(scope, receive, send)
            return
        if scope["type"] != "http" or not self._ring or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        is_check = scope["path"] == KEY_CHECK
        try:
            key = self._identify(_secret(Headers(scope=scope)), scope)
        except AsrError as error:
            # A refused check is not counted as a failure: the request that follows it will be.
            refusal = Response(status_code=status_of(error)) if is_check else problem(error)
            await refusal(scope, receive, send)
            return
        if is_check:
            await Response(status_code=204)(scope, receive, send)
            return
        await self._serve(key, scope, receive, send)

    async def _authenticate_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        offered, inner = _without_key(scope)
        key = None
        try:
            key = self._identify_websocket(_secret(Headers(scope=scope), offered), inner)
        except AsrError as error:
            if self._ring:  # without keys, credentials are ignored
                await problem(error)(scope, receive, send)
                return
        await self._serve(key, inner, receive, send)

    async def _serve(self, key: Key | None, scope: Scope, receive: Receive, send: Send) -> None:
        if key is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["key"] = key
        with structlog.contextvars.bound_contextvars(key=key.name):
            await self._app(scope, receive, send)

    def _identify_websocket(self, secret: str, scope: Scope) -> Key | None:
        """Return the key with this secret, or the key that made this client secret. Raises as `_identify`."""
        if scope["path"] != REALTIME or not secret.startswith(client_secrets.PREFIX):
            return self._identify(secret, scope)
        client_secret = read_secret(secret, self._ring, time.time())
        scope["state"]["client_secret"] = client_secret
        return client_secret.key

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        is_public = path in self._public or path.startswith(self._public_folder)
        return is_public or (path in self._inside_paths and self._is_inside(scope))

    def _is_inside(self, scope: Scope) -> bool:
        """Return whether the client has an inside address. Without an address, it is a proxy on a Unix socket."""
        return scope["client"] is None or contains_address(self._inside, scope["client"][0])

    def _identify(self, secret: str, scope: Scope) -> Key:
        """Return the key with this secret. Raises MissingKey: there is none. Raises WrongKey: it is invalid."""
        if not secret:
            raise MissingKey(f"This service requires an API key. {_HINT}{_query_hint(scope)}")
        key = self._ring.find(secret.encode("latin-1", "replace"))
        if key is None:
            raise WrongKey("Invalid API key.")
        return key


def key_of(scope: Scope) -> Key | None:
    """Return the key that the request was authenticated with; None without one."""
    key: Key | None = scope.get("state", {}).get("key")
    return key


def owner_of(scope: Scope) -> str:
    """Return the name of the request's key, to which its jobs and results belong; empty without a key."""
    key = key_of(scope)
    return key.name if key else ""


def client_secret_of(scope: Scope) -> ClientSecret | None:
    """Return the client secret that the WebSocket was authenticated with; None for another key."""
    client_secret: ClientSecret | None = scope.get("state", {}).get("client_secret")
    return client_secret


def caller_of(scope: Scope) -> Caller:
    """Return the caller of a request: its key or, without one, its address."""
    client = scope.get("client")
    return identify_caller(key_of(scope), client[0] if client else None)


def _without_key(scope: Scope) -> tuple[set[str], Scope]:
    """Return the keys that a WebSocket offers as sub-protocols, and its scope without them."""
    scope.setdefault("state", {})
    protocols = scope["subprotocols"]
    keys = {each.removeprefix(_PROTOCOL_WITH_KEY) for each in protocols if each.startswith(_PROTOCOL_WITH_KEY)}
    others = [each for each in protocols if not each.startswith(_PROTOCOL_WITH_KEY)]
    headers = [(name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"]
    return keys, {**scope, "headers": headers, "subprotocols": others}


def _secret(headers: Headers, offered: AbstractSet[str] = frozenset()) -> str:
    """Return the one key of a request, or an empty string. Ignores schemes other than Bearer, as of a proxy.

    `offered` has the keys of sub-protocols. Raises MalformedRequest: there is more than one key.
    """
    authorizations = headers.getlist("authorization")
    if len(authorizations) > 1:
        raise MalformedRequest("There is more than one Authorization header. Send one.")
    keys = {*offered, *(value.strip() for value in headers.getlist("x-api-key"))}
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
