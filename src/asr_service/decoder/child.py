"""The service's handle on one decoder child: receive its frames, pause it, kill it, learn how it ended."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Final

from asr_service.decoder import protocol

_RECEIVE_BYTES: Final = 64 * 1024
_MAX_PIECES: Final = 64
"""How many pieces a frame may arrive in. The kernel passes on what a child writes at once in at most a few pieces."""
_EXIT_STATUS_TIMEOUT_S: Final = 2.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSYS}
)
"""Signals by which a file can end its decoder. Any other signal comes from outside."""


class ChildLost(Exception):
    """The file made the child crash, hang or break the protocol.

    The message of each error here is the reason, without capital and period.
    """


class ChildInterrupted(Exception):
    """The child was killed or stopped from outside, such as by the kernel when memory is short."""


class ChildFailed(Exception):
    """Our own code failed in the child. The message is its traceback."""


class ForkServerLost(Exception):
    """The fork server ended or hung, and its children ended with it. The message is the reason."""


class DecoderChild:
    """A process that decodes one file. Belongs to one event loop."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket, shared_bytes: int = 0) -> None:
        """Take ownership of `pidfd` and of `channel`, the service's end of the child's channel.

        `shared_bytes` is the memory that the child shares with the fork server.
        """
        self.pid = pid
        self.shared_bytes = shared_bytes
        self.n_received = 0
        """Number of bytes received so far."""
        self._pidfd: int | None = pidfd
        self._channel = channel
        self._received = bytearray()
        self._n_pieces = 0
        """How many pieces of the next frame have arrived."""
        self._paused = False
        self._evicted = False
        self._exit_status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    @property
    def cpu_s(self) -> float:
        """The processor time used so far, in seconds. 0 if it cannot be read."""
        try:
            fields = (
                Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
            return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        except (OSError, ValueError, IndexError):
            return 0.0

    def set_exit_status(self, status: int | None) -> None:
        """Record how the child ended. None: unknown, because the fork server is lost."""
        if not self._exit_status.done():
            self._exit_status.set_result(status)

    async def receive(self, until_s: float) -> tuple[bytes, bytes] | None:
        """Return kind and payload of the next frame. None if it is not complete at `until_s` on the event loop's clock.

        Raises ChildLost: the file made the child end, or the child sent an invalid frame.
        Raises ChildInterrupted: the child was killed from outside.
        Raises ChildFailed: our own code failed in the child.
        Raises ForkServerLost: the fork server ended, and the child with it.
        """
        while (frame := self._next_frame()) is None:
            if not await self._wait_for_data(until_s):
                return None
            await self._receive_some()
            await asyncio.sleep(0)  # a child that always has data must not block the event loop
        if frame[0] == protocol.FAULT:
            raise ChildFailed(frame[1].decode(errors="replace"))
        return frame

    def pause(self) -> None:
        """Stop the child until `resume`."""
        self._paused = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the child if it was paused."""
        if self._paused:
            self._paused = False
            self._signal(signal.SIGCONT)

    def evict(self) -> None:
        """Kill the child because memory is short. Its reader gets ChildInterrupted."""
        self._evicted = True
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """Kill the child. The fork server reaps it. Does nothing if the child has ended."""
        self._channel.close()
        self._signal(signal.SIGKILL)
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            os.close(pidfd)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _next_frame(self) -> tuple[bytes, bytes] | None:
        header_bytes = protocol.HEADER_BYTES
        if len(self._received) < header_bytes:
            return None
        try:
            kind, length = protocol.parse_header(bytes(self._received[:header_bytes]))
        except ValueError as error:
            raise ChildLost(f"internal decoder error: {error}") from error
        if len(self._received) < header_bytes + length:
            return None
        payload = bytes(self._received[header_bytes : header_bytes + length])
        del self._received[: header_bytes + length]
        self._n_pieces = 0
        return kind, payload

    async def _wait_for_data(self, until_s: float) -> bool:
        """Wait until the channel can be read. Returns False at `until_s`. Cancelling it loses no data."""
        loop = asyncio.get_running_loop()
        timeout_s = until_s - loop.time()
        if timeout_s <= 0:
            return False
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._channel, _set_done, readable)
        try:
            done, _ = await asyncio.wait([readable], timeout=timeout_s)
        finally:
            loop.remove_reader(self._channel)
        return bool(done)

    async def _receive_some(self) -> None:
        try:
            data = self._channel.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            raise await self._exit_reason()
        self._n_pieces += 1
        if self._n_pieces > _MAX_PIECES:  # each byte for itself would keep the event loop busy
            raise ChildLost("internal decoder error: a frame has too many pieces")
        self.n_received += len(data)
        self._received += data

    async def _exit_reason(self) -> Exception:
        """Wait for the exit status of a child whose channel is closed, and describe it as an error."""
        if self._evicted:
            return ChildInterrupted("the decoders need more memory than they may use")
        await asyncio.wait([self._exit_status], timeout=_EXIT_STATUS_TIMEOUT_S)
        if not self._exit_status.done():
            return ChildInterrupted("the decoder closed its channel, and it is not known why")
        status = self._exit_status.result()
        if status is None:
            return ForkServerLost("the decoder's fork server ended")
        if status == -signal.SIGXCPU:
            return ChildLost("it takes more processor time than a file of its size may use")
        if status >= 0:
            return ChildFailed(f"the decoder ended with status {status}")
        return _killed_by(-status)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _killed_by(number: int) -> ChildLost | ChildInterrupted:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    reason = f"the decoder was killed by {name}"
    return ChildLost(reason) if number in _CRASHES else ChildInterrupted(reason)
