"""A streamed response, and the resources that the request holds until its end."""

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
    """Sends lines, then closes the request's resources, also if the client disconnects or stops reading."""

    def __init__(
        self, lines: AsyncGenerator[str], *, resources: AsyncExitStack, media_type: str, send_timeout_s: float
    ) -> None:
        """Disconnect a client that does not read a line within `send_timeout_s`."""
        # The header keeps Nginx from buffering the lines.
        super().__init__(lines, media_type=media_type, headers={"x-accel-buffering": "no"})
        self._lines = lines
        self._resources = resources
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._send_timeout_s):
                    await send(message)
            except TimeoutError as error:
                raise ClientGone("The client stopped reading.") from error

        try:
            async with self._resources, aclosing(self._lines):
                await super().__call__(scope, receive, send_in_time)
        except ClientGone as error:
            # No error can be sent any more. Returning without a closing line ends the connection.
            metrics.FAILURES.labels(error.code).inc()
            log.warning("a streamed response was aborted", reason=error.message)
