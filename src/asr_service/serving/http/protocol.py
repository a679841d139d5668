"""HTTP/1.1 by Uvicorn on httptools, with the limits on headers, trailers, pipelining and time that those two lack."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from asr_service.serving.http.connection_state import ConnectionState
from asr_service.serving.http.connections import Connections
from asr_service.serving.http.cycle_transport import CycleTransport
from asr_service.serving.http.old_clients import without_chunks
from asr_service.serving.http.refusal import (
    MALFORMED,
    NO_HOST,
    SLOW_HEAD,
    TOO_MANY_CONNECTIONS,
    UNKNOWN_TRANSFER_ENCODING,
    Refusal,
    malformed,
    too_large_head,
)
from asr_service.serving.http.unread import UnreadWatch
from asr_service.serving.http.websocket import BoundedWebSocket, handshake_error
from asr_service.serving.limits import ServerLimits

_MAX_WEBSOCKET_LINE: Final = 8000
"""Maximum bytes of a line in the head of a WebSocket. The library `websockets` parses 8192, with the line end."""


class BoundedHttp(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 protocol with limits on heads, pipelined requests, ignored bodies and unread answers.

    Without these limits a client could keep connections open by sending next to nothing or by not reading its
    answer. It could also fill the memory with one header, with trailers after a chunked body, or with requests.

    A connection whose client may still be sending is closed in two steps (nginx calls it a lingering close). If a
    socket is closed while it has unread bytes, the kernel resets the connection, and the client, or the proxy before
    it, may lose the answer that was already sent.

    `Upgrade` to anything but a WebSocket is ignored, as RFC 9110 section 7.8 allows. Java's HTTP client relies on it:
    it offers HTTP/2 with every first request.
    """

    def __init__(self, limits: ServerLimits, connections: Connections, **kwargs: Any) -> None:
        """Create the protocol of one connection; `kwargs` are those of Uvicorn's protocol."""
        super().__init__(**kwargs)
        self.limits = limits
        self._connections = connections
        self.state = ConnectionState.READ_HEAD
        self._n_header_bytes = 0
        """Bytes received since the last byte of a body: heads, chunk sizes and trailers."""
        self._refusal = MALFORMED
        """The answer if the parser stops."""
        self._timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._n_discarded_bytes = 0

    # -- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch = UnreadWatch(transport, self.limits.unread_s)
        self._enter(ConnectionState.READ_HEAD)
        self._connections.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.stop()
        self._enter(ConnectionState.CLOSED)
        self._connections.close(self)
        super().connection_lost(exc)
        if self._answering is not None and self._answering is not self.cycle:  # Uvicorn informs only the last request
            _disconnect(self._answering)

    def shutdown(self) -> None:
        """Close the connection after the request that is being answered: the server is ending."""
        if self.state is ConnectionState.LINGERING:
            self.transport.close()
        else:
            super().shutdown()

    def drop(self) -> None:
        """Close the connection without an answer."""
        self.transport.abort()

    def refuse(self) -> None:
        """Answer that the slot has too many connections, and close."""
        self._answer_and_close(TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        """Parse `data` in parts so small that no head can exceed its limit within one of them."""
        while data and not self.transport.is_closing():
            if self.state is ConnectionState.LINGERING:
                self._discard(data)
                return
            if self.state is ConnectionState.UPGRADED:
                self._websocket.data_received(data)
                return
            part = data[: self.limits.max_head_bytes - self._n_header_bytes]
            if not part:
                self._refusal = too_large_head(
                    f"The request line and headers exceed {self.limits.max_head_bytes} bytes."
                )
                self._refuse()
                return
            self._n_header_bytes += len(part)
            data = data[len(part) :]
            self._parse(part)

    # -- the parser's callbacks

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self.limits.max_pipelined:
            raise ValueError("too many pipelined requests")  # stops the parser
        super().on_message_begin()
        if self.state is not ConnectionState.READ_HEAD:
            self._enter(ConnectionState.READ_HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > self.limits.max_headers:
            self._refusal = too_large_head(f"The request has more than {self.limits.max_headers} headers.")
            raise ValueError(self._refusal.message)  # stops the parser
        if self.state is ConnectionState.READ_HEAD and _is_unknown_coding(name, value):
            self._refusal = UNKNOWN_TRANSFER_ENCODING
            raise ValueError(self._refusal.message)  # stops the parser

    def on_headers_complete(self) -> None:
        if not self._has_host():
            self._refusal = NO_HOST
            raise ValueError(self._refusal.message)  # stops the parser
        if self._offers_upgrade():
            return  # `_without_upgrade` has the request parsed again
        super().on_headers_complete()
        self._enter(ConnectionState.READ_BODY)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._n_header_bytes = 0

    def on_message_complete(self) -> None:
        if self._offers_upgrade():
            return
        super().on_message_complete()
        self._n_header_bytes = 0
        self._enter(ConnectionState.IDLE if self.cycle.response_complete else ConnectionState.RESPONDING)

    # -- the answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        cycle.transport = CycleTransport(self.transport, self._watch, self._close_after_answer)
        super()._start_asgi_task(cycle, without_chunks(cycle, app) if cycle.scope["http_version"] == "1.0" else app)

    def on_response_complete(self) -> None:
        if self.state is ConnectionState.LINGERING:  # Uvicorn would start the next pipelined request
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the state's own time limit holds
        if not self.cycle.response_complete or self.transport.is_closing():
            return
        if self.state is ConnectionState.RESPONDING:
            self._enter(ConnectionState.IDLE)
        elif self.state is ConnectionState.READ_BODY:  # refused before it was received
            self._set_timer(self.limits.head_s, self.transport.close)

    def _close_after_answer(self) -> None:
        """Close the connection after its last answer, in two steps if the client may still be sending."""
        is_between = self.state in (ConnectionState.RESPONDING, ConnectionState.IDLE) and not self._n_header_bytes
        if is_between and not self.pipeline:
            self.transport.close()
        elif self.state is not ConnectionState.LINGERING and not self.transport.is_closing():
            self._linger()

    # -- helpers

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
                if self._asks_for_websocket():
                    self._become_websocket(rest)
                    return
                data = self._without_upgrade(rest)
            except httptools.HttpParserError:
                self._refuse()
                return
            else:
                return

    def _has_host(self) -> bool:
        """Return whether the request has one header Host, which HTTP/1.0 does not need (RFC 9112, 3.2)."""
        n_hosts = sum(name == b"host" for name, _ in self.headers)
        return n_hosts == 1 or (n_hosts == 0 and self.parser.get_http_version() == "1.0")

    def _offers_upgrade(self) -> bool:
        """Return whether the parser takes what follows the head for another protocol. For CONNECT it always does."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _asks_for_websocket(self) -> bool:
        """Return whether this request opens a WebSocket, and no answer to an earlier request is due."""
        offers = [value.strip().lower() for name, value in self.headers if name == b"upgrade"]
        is_answer_due = self.cycle is not None and not self.cycle.response_complete
        return offers == [b"websocket"] and self.parser.get_method() == b"GET" and not is_answer_due

    def _become_websocket(self, rest: bytes) -> None:
        """Give the connection to a WebSocket, which parses the head of this request again, and then `rest`."""
        head = self._head()
        if max(map(len, head.split(b"\r\n"))) > _MAX_WEBSOCKET_LINE:
            self._refusal = too_large_head(f"A line of the request exceeds {_MAX_WEBSOCKET_LINE} bytes.")
            self._refuse()
            return
        if (error := handshake_error(head)) is not None:
            self._refusal = malformed(f"The request opens no WebSocket: {error}.")
            self._refuse()
            return
        self._enter(ConnectionState.UPGRADED)
        self._watch.stop()
        self.connections.discard(self)
        self._connections.close(self)
        self._websocket = BoundedWebSocket(
            self.limits,
            self._connections,
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
        )
        self._websocket.connection_made(self.transport)
        self.transport.set_protocol(self._websocket)
        self._websocket.open_with(head, rest)
        if not self._websocket.handshake_initiated:  # `websockets` could not parse the head, and would wait for ever
            self._websocket.drop()

    def _head(self, *, without: bytes = b"") -> bytes:
        """Return the head of the request that was parsed last, without the headers of this name."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        head = [b"%s %s HTTP/%s" % (method, _origin_form(self.url), version)]
        head += [b"%s: %s" % (name, value) for name, value in self.headers if name != without]
        return b"\r\n".join([*head, b"", b""])

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Return the head without `Upgrade` for a new parser, and `rest`, which this one took for another protocol."""
        if not self._offers_upgrade():
            return b""
        head = self._head(without=b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # like Uvicorn's own
        return head + rest

    def _refuse(self) -> None:
        """Answer with the refusal, if an answer can only be taken for that of the refused request, and close."""
        self.logger.warning("A request was refused before it was read: %s", self._refusal.message)
        if self._is_next_to_be_answered():
            self._answer_and_close(self._refusal)
        else:
            self.transport.close()

    def _answer_and_close(self, refusal: Refusal) -> None:
        answer = refusal.to_bytes()
        self._watch.written(len(answer))
        self.transport.write(answer)
        self._linger()

    def _is_next_to_be_answered(self) -> bool:
        """Return whether no other answer is due before that of the request being read."""
        if self.state is ConnectionState.READ_BODY:
            return not self.pipeline and not self.cycle.response_started
        return self.cycle is None or self.cycle.response_complete

    def _linger(self) -> None:
        """Send nothing more, discard what is received, and close when the client does or a limit is reached."""
        self._enter(ConnectionState.LINGERING)
        self.pipeline.clear()
        if self.cycle is not None:
            self.cycle.body.clear()
            if not self.cycle.response_complete:
                _disconnect(self.cycle)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()  # reading was paused if the application had not taken the body

    def _discard(self, data: bytes) -> None:
        self._n_discarded_bytes += len(data)
        if self._n_discarded_bytes > self.limits.lingering_close_bytes:
            self.transport.close()

    def _enter(self, state: ConnectionState) -> None:
        self.state = state
        is_answer_due = self.cycle is not None and not self.cycle.response_complete
        waits = state is ConnectionState.IDLE or (state is ConnectionState.READ_HEAD and not is_answer_due)
        self._connections.set_waiting(self, is_waiting=waits)
        match state:
            case ConnectionState.READ_HEAD:
                self._set_timer(self.limits.head_s, self._on_slow_head)
            case ConnectionState.IDLE:
                self._set_timer(self.limits.keep_alive_s, self.transport.close)
            case ConnectionState.LINGERING:
                self._set_timer(self.limits.lingering_close_s, self.transport.close)
            case _:
                self._stop_timer()

    def _set_timer(self, delay_s: float, act: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(delay_s, act)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_slow_head(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:  # the client waits for an earlier answer
            self._enter(ConnectionState.READ_HEAD)
        elif self._n_header_bytes:
            self._refusal = SLOW_HEAD
            self._refuse()
        else:
            self.transport.close()


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Notify the application that the client of this request has disconnected."""
    cycle.disconnected = True
    cycle.message_event.set()


def _origin_form(target: bytes) -> bytes:
    """Return the path and query of a request's target. A client of a proxy sends the whole URL (RFC 9112, 3.2.2)."""
    if target.startswith(b"/"):
        return target
    url = httptools.parse_url(target)
    return (url.path or b"/") + (b"" if url.query is None else b"?" + url.query)


def _is_unknown_coding(name: bytes, value: bytes) -> bool:
    """Return whether the header names a coding that would leave the body encoded, such as `gzip, chunked`."""
    return name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked"
