"""HEAD: what GET would answer, without its body. Pure ASGI."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """Uptime monitors and `curl -I` ask so; the server in front of the application leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)
