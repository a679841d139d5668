"""Counts a body as it comes: too large or too slow ends it, before the spool grows. Pure ASGI."""

import asyncio
import math
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_service.errors import UploadTooLarge, UploadTooSlow


class BodyLimit:
    """Raises UploadTooLarge or UploadTooSlow where the application reads the body."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float, min_bytes_per_s: float) -> None:
        """`timeout_s` is the longest wait for the next part of a body, and how long a body may come slowly."""
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._min_bytes_per_s = min_bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, self._counted(scope, receive), send)

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        received, complete, began_s = 0, False, math.inf
        announced = Headers(scope=scope).get("content-length", "")

        async def counted() -> Message:
            nonlocal received, complete, began_s
            if complete:
                return await receive()
            if received == 0:
                # A length that is too large is refused before a byte is read.
                self._check(int(announced) if announced.isdecimal() else 0)
            began_s = min(began_s, time.monotonic())
            message = await self._next(receive)
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            self._check(received)
            if not complete:
                self._check_pace(received, time.monotonic() - began_s)
            return message

        return counted

    def _check(self, n_bytes: int) -> None:
        if n_bytes > self._max_bytes:
            raise UploadTooLarge(f"the upload is larger than {self._max_bytes} bytes (ASR_MAX_UPLOAD_BYTES)")

    def _check_pace(self, n_bytes: int, lasted_s: float) -> None:
        """A byte now and then would hold a place for ever."""
        if lasted_s > self._timeout_s and n_bytes < lasted_s * self._min_bytes_per_s:
            raise UploadTooSlow(
                f"the upload came at {n_bytes / lasted_s:.0f} bytes a second; {self._min_bytes_per_s} are the least "
                "(ASR_UPLOAD_MIN_BYTES_PER_S)"
            )

    async def _next(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await receive()
        except TimeoutError as error:
            raise UploadTooSlow(f"nothing of the upload came for {self._timeout_s:.0f} s") from error
