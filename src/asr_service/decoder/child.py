"""One decoder child, seen from the service: listened to, and killed."""

import asyncio
import contextlib
import os
import signal
import socket
from typing import Final

from asr_service.decoder import protocol
from asr_service.decoder.protocol import DecodeLimits

_RECEIVE_BYTES: Final = 64 * 1024
_NEWS_S: Final = 2.0


class ChildLost(Exception):
    """The child ended, hung or spoke nonsense. The message says which."""


class ServerLost(Exception):
    """The decoder server ended or hung, and its children with it. The message says which."""


class DecoderChild:
    """A process that decodes one file. Belongs to one event loop."""

    def __init__(self, pid: int, pidfd: int, peer: socket.socket, limits: DecodeLimits) -> None:
        """Takes `pidfd` and `peer`, its end of the channel, over."""
        self.pid = pid
        self._pidfd: int | None = pidfd
        self._peer = peer
        self._limits = limits
        self._received = bytearray()
        self._end: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def note_end(self, status: int | None) -> None:
        """Told by the server's end of things: how it ended, or None where the server is lost."""
        if not self._end.done():
            self._end.set_result(status)

    async def receive(self) -> tuple[bytes, bytes]:
        """Kind and payload of the next frame.

        Raises ChildLost: it ended, or said nothing for `stall_s`. Raises ServerLost: its server ended under it.
        """
        patience_s = self._limits.stall_s
        try:
            async with asyncio.timeout(None) as deadline:
                header = await self._exactly(protocol.HEADER_BYTES, patience_s, deadline)
                kind, length = protocol.parse_header(header)
                return kind, await self._exactly(length, patience_s, deadline)
        except TimeoutError as error:
            raise ChildLost(f"the decoder made no progress for {patience_s:g} s") from error
        except ValueError as error:
            raise ChildLost(f"the decoder spoke nonsense: {error}") from error

    def kill(self) -> None:
        """End it, wherever it is. The server collects it. Harmless when it has ended."""
        self._peer.close()
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    async def _exactly(self, n_bytes: int, patience_s: float, deadline: asyncio.Timeout) -> bytes:
        loop = asyncio.get_running_loop()
        while len(self._received) < n_bytes:
            deadline.reschedule(loop.time() + patience_s)
            try:
                chunk = await loop.sock_recv(self._peer, _RECEIVE_BYTES)
            except ConnectionError:
                chunk = b""
            if not chunk:
                deadline.reschedule(None)
                raise await self._obituary()
            self._received += chunk
            await asyncio.sleep(0)  # a child that always has more to say must not keep the loop to itself
        taken = bytes(self._received[:n_bytes])
        del self._received[:n_bytes]
        return taken

    async def _obituary(self) -> ChildLost | ServerLost:
        """What it died of. Its end of the channel is closed, so it is dead or as good as dead."""
        await asyncio.wait([self._end], timeout=_NEWS_S)
        if not self._end.done():
            return ChildLost("the decoder closed its channel")
        status = self._end.result()
        if status is None:
            return ServerLost("the decoder server ended")
        if status == -signal.SIGXCPU:
            return ChildLost("decoding it takes more processor time than a file of its size may have")
        if status < 0:
            return ChildLost(f"the decoder was ended by {signal.Signals(-status).name}")
        return ChildLost(f"the decoder ended with status {status}")
