"""Limits the size and the pace of a request body while it arrives. Pure ASGI."""

import asyncio
import math
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_service.errors import MalformedRequest, UploadTooLarge, UploadTooSlow

_MAX_DIGITS = 20
"""Digits of the largest Content-Length that the HTTP parser can hold. Python refuses to convert thousands of digits."""


class BodyLimit:
    """Raises UploadTooLarge or UploadTooSlow in the application, where it reads the body."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        timeout_s: float,
        min_bytes_per_s: float,
        more_bytes: Mapping[str, int],
    ) -> None:
        """`timeout_s` is the longest wait for the next part, and how long a body may be below `min_bytes_per_s`.

        `more_bytes` has the paths whose bodies may have more than `max_bytes`, and how many more.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._more_bytes = more_bytes
        self._timeout_s = timeout_s
        self._min_bytes_per_s = min_bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, self._limited(scope, receive), send)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        received, complete, began_s = 0, False, math.inf
        content_length = Headers(scope=scope).get("content-length", "")
        max_bytes = self._max_bytes + self._more_bytes.get(scope["path"], 0)

        async def limited() -> Message:
            nonlocal received, complete, began_s
            if complete:
                return await receive()
            if received == 0:
                # Refuse a Content-Length over the limit before reading any of the body.
                self._check_size(_announced_bytes(content_length), max_bytes)
            began_s = min(began_s, time.monotonic())
            message = await self._next(receive)
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            self._check_size(received, max_bytes)
            if not complete:
                self._check_pace(received, time.monotonic() - began_s)
            return message

        return limited

    def _check_size(self, n_bytes: int, max_bytes: int) -> None:
        if n_bytes > max_bytes:
            raise UploadTooLarge(f"The upload is larger than {self._max_bytes} bytes (ASR_MAX_UPLOAD_BYTES).")

    def _check_pace(self, n_bytes: int, lasted_s: float) -> None:
        """Stop a body that sends a byte now and then: it would hold its permit for ever."""
        if lasted_s > self._timeout_s and n_bytes < lasted_s * self._min_bytes_per_s:
            raise UploadTooSlow(
                f"The upload arrived at {n_bytes / lasted_s:.0f} bytes per second; the minimum is "
                f"{self._min_bytes_per_s} (ASR_UPLOAD_MIN_BYTES_PER_S)."
            )

    async def _next(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await receive()
        except TimeoutError as error:
            raise UploadTooSlow(
                f"No part of the upload arrived for {self._timeout_s:.0f} s (ASR_UPLOAD_TIMEOUT_S)."
            ) from error


def _announced_bytes(content_length: str) -> int:
    if len(content_length) > _MAX_DIGITS:
        raise MalformedRequest(f"Content-Length has more than {_MAX_DIGITS} digits.", param="Content-Length")
    return int(content_length) if content_length.isdecimal() else 0
