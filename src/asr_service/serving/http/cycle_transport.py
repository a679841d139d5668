"""The transport that Uvicorn uses for one request of a connection."""

import asyncio
from collections.abc import Callable

from asr_service.serving.http.unread import UnreadWatch


class CycleTransport(asyncio.Transport):
    """The part of a connection's transport that Uvicorn uses for one request, with our own `close`."""

    def __init__(self, transport: asyncio.Transport, watch: UnreadWatch, close: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._watch = watch
        self._close = close

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._watch.written(len(data))
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._close()
