"""How clients reach one slot, and how that ends."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from asr_service.serving.sockets import BACKLOG, unix_listener

ProtocolFactory = Callable[[], asyncio.Protocol]


class TcpEndpoint:
    """The one listener that the master holds: always open, and the application itself says 503 while it loads."""

    needs_accept_grace = False

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._server: asyncio.Server | None = None

    async def start(self, factory: ProtocolFactory) -> asyncio.Server | None:
        loop = asyncio.get_running_loop()
        return await loop.create_server(factory, sock=self._listener, backlog=BACKLOG)

    async def open(self, _factory: ProtocolFactory) -> asyncio.Server | None:
        return None

    def unpublish(self) -> None:
        """The address stays."""


class UnixEndpoint:
    """A socket of the slot's own that exists only while the slot is ready: a proxy's connect fails at once otherwise,
    and it goes on to another slot.
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
        """Take the path away; who has connected is served. From any thread."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):
                self._path.unlink()


Endpoint = TcpEndpoint | UnixEndpoint
