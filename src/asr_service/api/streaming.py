"""An answer that is sent line by line, and what the request holds meanwhile."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from asr_service import metrics
from asr_service.errors import ClientGone

log = structlog.get_logger(__name__)


class StreamedResponse(StreamingResponse):
    """Sends `lines`, then lets go of `held`, also where the client leaves, or reads nothing for `patience_s`."""

    def __init__(self, lines: AsyncGenerator[str], *, held: AsyncExitStack, media_type: str, patience_s: float) -> None:
        # The header keeps Nginx from gathering the lines.
        super().__init__(lines, media_type=media_type, headers={"x-accel-buffering": "no"})
        self._lines = lines
        self._held = held
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_soon(message: Message) -> None:
            try:
                async with asyncio.timeout(self._patience_s):
                    await send(message)
            except TimeoutError as error:
                raise ClientGone("the client stopped reading") from error

        try:
            async with self._held, aclosing(self._lines):
                await super().__call__(scope, receive, send_soon)
        except ClientGone as error:
            # There is nobody to tell; returning without a last line ends the connection.
            metrics.FAILURES.labels(error.code).inc()
            log.warning("an answer was broken off", reason=error.message)
