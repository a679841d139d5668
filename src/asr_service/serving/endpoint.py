"""The addresses at which clients reach one slot."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from asr_service.serving.sockets import BACKLOG, unix_listener

ProtocolFactory = Callable[[], asyncio.Protocol]


class TcpEndpoint:
    """The TCP listener that the master holds. It is always open; the application answers 503 while it loads."""

    needs_accept_grace = False
    """Whether a client may have connected just before `unpublish`."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._server: asyncio.Server | None = None

    async def start(self, factory: ProtocolFactory) -> asyncio.Server | None:
        loop = asyncio.get_running_loop()
        return await loop.create_server(factory, sock=self._listener, backlog=BACKLOG)

    async def open(self, _factory: ProtocolFactory) -> asyncio.Server | None:
        return None

    def unpublish(self) -> None:
        """Do nothing: the address stays open."""


class UnixEndpoint:
    """A unix socket of one slot, which exists only while the slot is ready.

    Without it, a proxy's connect fails at once, and the proxy tries another slot.
    """

    needs_accept_grace = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_open = False

    async def start(self, _factory: ProtocolFactory) -> asyncio.Server | None:
        return None

    async def open(self, factory: ProtocolFactory) -> asyncio.Server | None:
        loop = asyncio.get_running_loop()
        listener = unix_listener(self._path)
        self._is_open = True
        return await loop.create_unix_server(factory, sock=listener, backlog=BACKLOG)

    def unpublish(self) -> None:
        """Remove the path; open connections are still served. Can be called from any thread."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):
                self._path.unlink()


Endpoint = TcpEndpoint | UnixEndpoint
