"""HTTP/1.1 by Uvicorn on httptools, with the bounds that those two lack on a request's head."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from asr_service.serving.timeouts import Tuning


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request line and headers are too long or too slow.

    Without it one client may hold connections open for ever by sending nothing, or fill the memory with one header.
    """

    tuning: ClassVar[Tuning] = Tuning()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._n_head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            room = self.tuning.head_bytes - self._n_head_bytes
            self._n_head_bytes += min(len(data), room)
            super().data_received(data[:room])
            data = data[room:]
            if not data or self.transport.is_closing():
                return
            if self._in_head:
                self._refuse()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:  # a further request of this connection
            self._n_head_bytes = 0
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def _refuse(self) -> None:
        self._stop_timer()
        self.logger.warning("A request's head was larger than %d bytes.", self.tuning.head_bytes)
        self.send_400_response("Request line and headers are too large.")

    def _expect_head(self) -> None:
        self._in_head = True
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.tuning.head_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        """Nothing came, or not enough of it; while an earlier request is still being answered, go on waiting."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_head()
        elif not self.transport.is_closing():
            self.transport.close()
