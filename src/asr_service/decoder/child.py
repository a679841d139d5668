"""The service's handle on one decoder child: receive its frames, kill it, learn how it ended."""

import asyncio
import contextlib
import os
import signal
import socket
from typing import Final

from asr_service.decoder import protocol
from asr_service.decoder.protocol import DecodeLimits

_RECEIVE_BYTES: Final = 64 * 1024
_EXIT_STATUS_TIMEOUT_S: Final = 2.0


class ChildLost(Exception):
    """The child ended early, hung or broke the protocol. The message is the reason, without capital and period."""


class ForkServerLost(Exception):
    """The fork server ended or hung, and its children ended with it. The message is the reason."""


class DecoderChild:
    """A process that decodes one file. Belongs to one event loop."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket, limits: DecodeLimits) -> None:
        """Take ownership of `pidfd` and of `channel`, the service's end of the child's channel."""
        self.pid = pid
        self._pidfd: int | None = pidfd
        self._channel = channel
        self._limits = limits
        self._received = bytearray()
        self._exit_status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def set_exit_status(self, status: int | None) -> None:
        """Record how the child ended. None: unknown, because the fork server is lost."""
        if not self._exit_status.done():
            self._exit_status.set_result(status)

    async def receive(self) -> tuple[bytes, bytes]:
        """Return kind and payload of the next frame.

        Raises ChildLost: the child ended, sent an invalid frame, or sent nothing for `stall_timeout_s`.
        Raises ForkServerLost: the fork server ended, and the child with it.
        """
        timeout_s = self._limits.stall_timeout_s
        try:
            async with asyncio.timeout(None) as deadline:
                header = await self._receive_exactly(protocol.HEADER_BYTES, timeout_s, deadline)
                kind, length = protocol.parse_header(header)
                return kind, await self._receive_exactly(length, timeout_s, deadline)
        except TimeoutError as error:
            raise ChildLost(f"the decoder made no progress for {timeout_s:g} s") from error
        except ValueError as error:
            raise ChildLost(f"internal decoder error: {error}") from error

    def kill(self) -> None:
        """Kill the child. The fork server reaps it. Does nothing if the child has ended."""
        self._channel.close()
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    async def _receive_exactly(self, n_bytes: int, timeout_s: float, deadline: asyncio.Timeout) -> bytes:
        loop = asyncio.get_running_loop()
        while len(self._received) < n_bytes:
            deadline.reschedule(loop.time() + timeout_s)
            try:
                data = await loop.sock_recv(self._channel, _RECEIVE_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                deadline.reschedule(None)
                raise await self._exit_reason()
            self._received += data
            await asyncio.sleep(0)  # a child that always has data must not block the event loop
        taken = bytes(self._received[:n_bytes])
        del self._received[:n_bytes]
        return taken

    async def _exit_reason(self) -> ChildLost | ForkServerLost:
        """Wait for the exit status of a child whose channel is closed, and describe it as an error."""
        await asyncio.wait([self._exit_status], timeout=_EXIT_STATUS_TIMEOUT_S)
        if not self._exit_status.done():
            return ChildLost("the decoder closed its channel")
        status = self._exit_status.result()
        if status is None:
            return ForkServerLost("the decoder's fork server ended")
        if status == -signal.SIGXCPU:
            return ChildLost("it takes more processor time than a file of its size may use")
        if status < 0:
            return ChildLost(f"the decoder was killed by {signal.Signals(-status).name}")
        return ChildLost(f"the decoder ended with status {status}")
