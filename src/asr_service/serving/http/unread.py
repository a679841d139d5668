"""Detects clients that do not read their answers."""

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Final

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero: the kernel discards what it has not sent and resets the connection."""


class UnreadWatch:
    """Resets a TCP connection whose client accepts nothing of its pending answer for `limit_s`, at most twice that.

    TCP_USER_TIMEOUT alone is not enough: Linux restarts its timer for zero-window probes with every segment that the
    client sends, so a client that reads nothing and sends a byte every 200 ms would never reach the time-out.
    It is set too, for what the kernel still has to send after the connection was closed.

    Unix sockets are not watched: their client is the proxy, which has its own time-outs.
    """

    def __init__(self, transport: asyncio.Transport, limit_s: float) -> None:
        self._transport = transport
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._is_watched = self._socket.family != socket.AF_UNIX
        self._n_written = 0
        self._n_accepted = 0
        """Bytes that the client's kernel had acknowledged at the last check."""
        self._timer: asyncio.TimerHandle | None = None
        if self._is_watched:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limit_s * 1000))

    def written(self, n_bytes: int) -> None:
        """Record that `n_bytes` are about to be written to the transport."""
        self._n_written += n_bytes
        if self._is_watched and self._timer is None and not self._transport.is_closing():
            self._n_accepted = self._n_written - n_bytes - self._n_pending()
            self._timer = self._loop.call_later(self._limit_s, self._check)

    def stop(self) -> None:
        """Stop watching: the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_watched = False

    def _check(self) -> None:
        self._timer = None
        n_pending = self._n_pending()
        n_accepted = self._n_written - n_pending
        if not n_pending:
            return
        if n_accepted == self._n_accepted:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
            return
        self._n_accepted = n_accepted
        self._timer = self._loop.call_later(self._limit_s, self._check)

    def _n_pending(self) -> int:
        """Return how many written bytes wait in this process or, sent or not, in the kernel."""
        queued = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))  # SIOCOUTQ of tcp(7)
        return self._transport.get_write_buffer_size() + int.from_bytes(queued, "little")
