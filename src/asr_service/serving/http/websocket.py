"""WebSockets by Uvicorn on `websockets`, with limits on what one client may do to the others."""

import asyncio
import logging
from collections.abc import Callable
from enum import Flag, auto
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

from asr_service.serving.http.connections import Connections
from asr_service.serving.limits import ServerLimits

_SLICE_BYTES: Final = 16 * 1024
"""Bytes that are parsed at once. They hold up to 2700 frames, which take some 20 ms; other connections get their turn
after each slice."""
_MAX_PARTS: Final = 16_384
"""Frames of one message. A message of the maximum size in parts of 1344 bytes has so many."""
_MAX_CONTROL_FRAMES: Final = 100
"""Pings and pongs of a client in one second. The pongs for a client that reads nothing are held in memory."""


def handshake_error(head: bytes) -> Exception | None:
    """Return why `websockets` would refuse the request with this head; None if it opens a WebSocket.

    Uvicorn would answer with the text of the library, or not at all.
    """
    trial = ServerProtocol(logger=logging.getLogger("uvicorn.error"))  # the library's own logger would log the headers
    trial.receive_data(head)
    for request in trial.events_received():
        if isinstance(request, Request):
            trial.accept(request)
    return trial.handshake_exc


class _Hold(Flag):
    """Why nothing is read from a connection."""

    NONE = 0
    APPLICATION = auto()
    """The application has not taken the last message."""
    PARSER = auto()
    """Bytes that were read wait to be parsed."""


class _BoundedTransport(asyncio.Transport):
    """A connection's transport that is aborted if it cannot be closed in time, because its client reads nothing.

    Uvicorn's `pause_reading` and `resume_reading` are one of several reasons not to read.
    """

    def __init__(self, transport: asyncio.Transport, close_s: float, on_resume: Callable[[], None]) -> None:
        """Wrap a transport. `on_resume` is called when Uvicorn resumes reading."""
        super().__init__()
        self._transport = transport
        self._close_s = close_s
        self._on_resume = on_resume
        self._holds = _Hold.NONE
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self.hold(_Hold.APPLICATION)

    def resume_reading(self) -> None:
        self.release(_Hold.APPLICATION)
        self._on_resume()

    def hold(self, reason: _Hold) -> None:
        """Read nothing until the reason is released."""
        self._holds |= reason
        self._transport.pause_reading()

    def release(self, reason: _Hold) -> None:
        self._holds &= ~reason
        if not self._holds:
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
    """Uvicorn's WebSocket protocol, with an end for every connection and a share of the event loop for the others.

    A client that reads nothing does not answer pings either. Uvicorn then closes the connection, but waits for the
    client to read what it was sent; here the wait is limited.

    Reading pauses while the application takes its time with a message. The client's answer to a ping may be behind that
    message, or behind a large one that is still being sent, so the time-out of a ping is extended.

    Bytes are parsed in slices, and frames only after the application has accepted the WebSocket. A client that sends
    too many small frames is disconnected.
    """

    def __init__(self, limits: ServerLimits, connections: Connections, **kwargs: Any) -> None:
        """Create the protocol of one connection; `kwargs` are those of Uvicorn's protocol."""
        super().__init__(**kwargs)
        self._limits = limits
        self._connections = connections
        self._unparsed = bytearray()
        self._parsing: asyncio.Handle | None = None
        self._n_parts = 0
        self._n_control_frames = 0
        self._counted_since_s = 0.0
        self._received_at_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._bounded = _BoundedTransport(transport, self._limits.lingering_close_s, self._parse_soon)
        super().connection_made(self._bounded)
        self._connections.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounded.stop()
        self._connections.close(self)
        self._unparsed.clear()
        # Uvicorn would report that the client has sent a close frame without a code.
        self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.ABNORMAL_CLOSURE})
        super().connection_lost(exc)

    # -- what the client sends

    def open_with(self, head: bytes, rest: bytes) -> None:
        """Take the request that opens the WebSocket, and the bytes that came after it."""
        super().data_received(head)
        self.data_received(rest)

    def data_received(self, data: bytes) -> None:
        self._received_at_s = self.loop.time()
        self._unparsed += data
        self._parse()

    def _parse_soon(self) -> None:
        if self._unparsed and self._parsing is None:
            self._parsing = self.loop.call_soon(self._parse)

    def _parse(self) -> None:
        """Parse one slice, if the application takes messages. What is left waits, and so does the client."""
        self._parsing = None
        if self._bounded.is_closing():
            self._unparsed.clear()
        elif self._unparsed and self.handshake_complete and not self.read_paused:
            part = bytes(self._unparsed[:_SLICE_BYTES])
            del self._unparsed[:_SLICE_BYTES]
            super().data_received(part)
        if not self._unparsed:
            self._bounded.release(_Hold.PARSER)
            return
        self._bounded.hold(_Hold.PARSER)
        if self.handshake_complete and not self.read_paused:
            self._parse_soon()

    def handle_text(self, event: Frame) -> None:
        self._n_parts = 1
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        self._n_parts = 1
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        self._n_parts += 1
        if self._n_parts > _MAX_PARTS:
            self._fail(CloseCode.POLICY_VIOLATION, f"A message has more than {_MAX_PARTS} frames.")
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        super().handle_ping()
        self._count_control_frame()

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        self._count_control_frame()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:  # Uvicorn would log a traceback
                self._fail(CloseCode.INVALID_DATA, "A text message is not valid UTF-8.")
                return
        super().send_receive_event_to_app()

    def _count_control_frame(self) -> None:
        now_s = self.loop.time()
        if now_s - self._counted_since_s >= 1:
            self._counted_since_s, self._n_control_frames = now_s, 0
        self._n_control_frames += 1
        if self._n_control_frames > _MAX_CONTROL_FRAMES:
            self._fail(CloseCode.POLICY_VIOLATION, f"More than {_MAX_CONTROL_FRAMES} pings and pongs in a second.")

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Close the connection for a fault of the client, as `websockets` does for faults that it finds itself."""
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    # -- what the application sends

    async def send(self, message: Any) -> None:
        await self.writable.wait()
        if self.close_sent and self.handshake_complete:
            raise ClientDisconnected  # the client failed meanwhile; Uvicorn takes it for a fault of the application
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # else Uvicorn logs an error for each WebSocket that is refused
        if message["type"] == "websocket.accept":
            self._parse_soon()

    def keepalive_timeout(self) -> None:
        is_sending = self._received_at_s > self.ping_sent_at
        if (self.read_paused or is_sending) and self.ping_timeout is not None:
            self.ping_sent_at = self.loop.time()
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    def drop(self) -> None:
        """Close the connection without a close frame."""
        self._bounded.abort()

    refuse = drop
