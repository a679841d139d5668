"""HTTP/1.1 by Uvicorn on httptools, with the bounds that those two lack on what surrounds a request."""

import asyncio
import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from asr_service.serving.limits import ServerLimits


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What becomes of a request that never reaches the application, in the shape of the application's own errors."""

    status: bytes
    code: str
    message: str

    def to_bytes(self) -> bytes:
        error = {"message": self.message, "type": "invalid_request_error", "param": None, "code": self.code}
        body = json.dumps({"error": error}).encode()
        head = b"content-type: application/json\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"
        return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (self.status, head, len(body), body)


_MALFORMED: Final = _Refusal(b"400 Bad Request", "malformed_request", "this is no HTTP/1.1 request")
_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_SLOW: Final = _Refusal(b"408 Request Timeout", "head_too_slow", "the request line and headers did not come in time")


class _CycleTransport(asyncio.Transport):
    """What a request has of its connection: as much as Uvicorn uses, with an end of our own."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._close = close

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._close()


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request line and headers are too long, too many or too slow, which sends request after
    request without waiting for an answer, whose body goes on after the request has been answered, or whose answer is
    not read.

    Without it one client may hold connections open for ever by sending next to nothing, or reading nothing, or fill the
    memory with one header, with one that follows a body in chunks, or with requests.

    A connection that is closed while its client still sends is closed in two steps, as web servers do: a socket that is
    closed with unread bytes in it is reset, the client's next write fails, and it (or the proxy before it, which then
    tells of a bad gateway) may never read the answer that was sent.
    """

    limits: ClassVar[ServerLimits] = ServerLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._n_header_bytes = 0  # since the last of a body: heads, chunks' sizes, the headers after them
        self._in_head = True
        self._refusal = _MALFORMED
        self._timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self.is_lingering = False
        """Answered for the last time, and only read from until the client closes."""
        self._n_lingering_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._bound_the_unread(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        if self._answering is not None and self._answering is not self.cycle:  # Uvicorn tells the last request alone
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        cycle.transport = _CycleTransport(self.transport, self._close)
        super()._start_asgi_task(cycle, app)

    def _bound_the_unread(self, transport: asyncio.Transport) -> None:
        """By the kernel, since the application has long handed its answer over. A unix socket's reader is a proxy."""
        client = transport.get_extra_info("socket")
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self.limits.unread_s * 1000))

    def shutdown(self) -> None:
        """The server ends, and waits for no client that was answered."""
        if self.is_lingering:
            self.transport.close()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self.is_lingering:
            self._discard(data)
            return
        while data and not self.transport.is_closing() and not self.is_lingering:
            part = data[: self.limits.head_bytes - self._n_header_bytes]
            if not part:
                self._refuse(self._too_large(f"more than {self.limits.head_bytes} bytes"))
                return
            self._n_header_bytes += len(part)
            super().data_received(_without_upgrade(part) if self._in_head else part)
            data = data[len(part) :]

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self.limits.pipelined:
            raise ValueError("too many requests at once")  # the parser stops
        super().on_message_begin()
        if self._timer is None:  # a further request of this connection
            self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > self.limits.head_lines:
            self._refusal = self._too_large(f"more than {self.limits.head_lines} headers")
            raise ValueError(self._refusal.message)  # the parser stops, and has the request refused

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._n_header_bytes = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_timer()
        self._in_head, self._n_header_bytes = True, 0  # what comes next is another's

    def on_response_complete(self) -> None:
        if self.is_lingering:  # Uvicorn would begin with what waits behind it
            self.server_state.total_requests += 1
            return
        if self.cycle.response_complete and self.cycle.more_body:  # refused before it was received
            self._set_timer(self.limits.head_s, self.transport.close)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # Uvicorn's words, in its own shape
        self._refuse(self._refusal)

    def _too_large(self, what: str) -> _Refusal:
        return _Refusal(
            b"431 Request Header Fields Too Large", "head_too_large", f"the request line and headers are {what}"
        )

    def _refuse(self, refusal: _Refusal) -> None:
        self._stop_timer()
        self.logger.warning("A request was refused unread: %s.", refusal.message)
        if self._is_next_to_be_answered():
            self.transport.write(refusal.to_bytes())
            self._linger()
        else:
            self.transport.close()

    def _close(self) -> None:
        """After a request that was its connection's last."""
        if self._in_head and not self._n_header_bytes and not self.pipeline:  # nothing is under way
            self.transport.close()
        elif not self.is_lingering and not self.transport.is_closing():
            self._linger()

    def _linger(self) -> None:
        """Send no more, throw away what still comes, and close when the client does or the bounds are reached."""
        self.is_lingering = True
        self.pipeline.clear()  # nobody would get the answers
        if self.cycle is not None:
            self.cycle.body.clear()
            if not self.cycle.response_complete:  # it gets no answer, and is told as if the client had left
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self._unset_keepalive_if_required()
        self._set_timer(self.limits.lingering_close_s, self.transport.close)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()  # it may have been more than the application had taken

    def _discard(self, data: bytes) -> None:
        self._n_lingering_bytes += len(data)
        if self._n_lingering_bytes > self.limits.lingering_close_bytes:
            self.transport.close()

    def _is_next_to_be_answered(self) -> bool:
        """Whether the request that is being read is; what is written otherwise would be taken for another's answer."""
        if self._in_head:
            return self.cycle is None or self.cycle.response_complete
        return not self.pipeline and not self.cycle.response_started

    def _expect_head(self) -> None:
        self._set_timer(self.limits.head_s, self._give_up)

    def _set_timer(self, delay_s: float, act: Any) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(delay_s, act)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        """Nothing came, or not enough of it; while an earlier request is still being answered, go on waiting."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_head()
        elif self._n_header_bytes and not self.transport.is_closing():
            self._refuse(_SLOW)
        elif not self.transport.is_closing():
            self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """What begins with a head, or more of one, its `Upgrade` under another name.

    A server may go on in HTTP/1.1, and Java's client counts on it: it offers HTTP/2 with each first request. httptools
    would take the request's body for the other protocol.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + end + rest
