"""WebSockets by Uvicorn on `websockets`, with limits on clients that read nothing."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from asr_service.serving.http.connections import Connections
from asr_service.serving.limits import ServerLimits


class _BoundedTransport(asyncio.Transport):
    """A connection's transport that is aborted if it cannot be closed in time, because its client reads nothing."""

    def __init__(self, transport: asyncio.Transport, close_s: float) -> None:
        super().__init__()
        self._transport = transport
        self._close_s = close_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def close(self) -> None:
        self._transport.close()
        if self._timer is None:
            self._timer = self._loop.call_later(self._close_s, self._transport.abort)

    def abort(self) -> None:
        self._transport.abort()

    def stop(self) -> None:
        """Forget the abort: the connection is lost."""
        if self._timer is not None:
            self._timer.cancel()


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket protocol, with an end for every connection.

    A client that reads nothing does not answer pings either. Uvicorn then closes the connection, but waits for the
    client to read what it was sent; here the wait is limited.

    Reading pauses while the application takes its time with a message. The client's answer to a ping may be behind that
    message, so the time-out of a ping is extended.
    """

    def __init__(self, limits: ServerLimits, connections: Connections, **kwargs: Any) -> None:
        """Create the protocol of one connection; `kwargs` are those of Uvicorn's protocol."""
        super().__init__(**kwargs)
        self._limits = limits
        self._connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._bounded = _BoundedTransport(transport, self._limits.lingering_close_s)
        super().connection_made(self._bounded)
        self._connections.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounded.stop()
        self._connections.close(self)
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # else Uvicorn logs an error for each WebSocket that is refused

    def keepalive_timeout(self) -> None:
        if self.read_paused and self.ping_timeout is not None:
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    def drop(self) -> None:
        """Close the connection without a close frame."""
        self._bounded.abort()

    refuse = drop
