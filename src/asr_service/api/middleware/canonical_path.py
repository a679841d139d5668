"""Rewrites every spelling of an endpoint's path to the form that routes, keys and metrics use. Pure ASGI."""

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES: Final = re.compile(r"//+")
_OPENAI_PREFIX: Final = "/openai/v1/"
"""The prefix that the SDKs of Groq and Azure add to their base URL."""


class CanonicalPath:
    """Changes the path of a request before any other part of the application reads it."""

    def __init__(self, app: ASGIApp, *, root_path: str | None, exact: frozenset[str]) -> None:
        """`exact` has the paths that have no second form, because proxies restrict the access to them by their path."""
        self._app = app
        self._root_path = root_path
        self._exact = exact

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path = canonical_path(scope["path"], self._root_path)
            if path not in self._exact:
                scope = {**scope, "path": path}
        await self._app(scope, receive, send)


def canonical_path(path: str, root_path: str | None = None) -> str:
    """Return a path without `root_path`, without doubled or final slashes, and without the `/openai` before `/v1`."""
    path = _SLASHES.sub("/", path)
    if root_path and f"{path}/".startswith(f"{root_path}/"):
        path = path.removeprefix(root_path)
    path = path.rstrip("/") or "/"
    return path.removeprefix("/openai") if path.startswith(_OPENAI_PREFIX) else path
