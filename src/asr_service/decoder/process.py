"""The service's handle on the fork server: start it, request children, learn how they ended, stop it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from asr_service.decoder import protocol
from asr_service.decoder.child import DecoderChild, ForkServerLost
from asr_service.decoder.memory import anonymous_bytes
from asr_service.decoder.protocol import DecodeLimits, Packet
from asr_service.errors import Unavailable

_INHERITED: Final = ("LD_LIBRARY_PATH",)  # a Python built with a shared library may not start without it


@dataclass(frozen=True, slots=True)
class _ForkRequest:
    """A request for a child that the fork server has not answered yet."""

    channel: socket.socket
    result: asyncio.Future[DecoderChild | OSError | None]
    """The child, the error of the failed start, or None if the fork server is lost."""


class DecoderProcess:
    """A fork server: a process that forks decoder children. Belongs to one event loop."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        limits: DecodeLimits,
        on_loss: "Callable[[DecoderProcess], None]",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._control = control
        self._limits = limits
        self._on_loss = on_loss
        self._requests: deque[_ForkRequest] = deque()
        self._children: dict[int, DecoderChild] = {}
        self._ready: asyncio.Future[bool] = self._loop.create_future()
        self._reaped: asyncio.Future[int] | None = None
        self._own_bytes = 0
        self.restrictions: dict[str, bool] = {}
        """Whether each of `protocol.RESTRICTIONS` holds. Empty until it is ready."""
        self.was_ready = False
        self.loss_reason: str | None = None
        """Why it serves no more. None while it serves."""
        self._loop.add_reader(control, self._on_packet)

    @classmethod
    def spawn(cls, limits: DecodeLimits, on_loss: "Callable[[DecoderProcess], None]") -> Self:
        """Start a fork server without waiting until it is ready.

        `on_loss` is called once, when the fork server ends, hangs or is closed. Call this on the event loop's thread:
        the kernel kills the process when the thread that started it ends.

        Raises OSError: the operating system cannot start another process.
        """
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program, and no shell
                _command(theirs.fileno(), limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                process_group=0,  # a terminal's Ctrl-C must not reach it, not even while it still imports
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return cls(process, ours, limits, on_loss)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait_ready(self) -> None:
        """Wait until the process can fork children.

        Raises ForkServerLost: it ended, or was not ready within `start_timeout_s`.
        """
        done, _ = await asyncio.wait([self._ready], timeout=self._limits.start_timeout_s)
        if not done:
            self._mark_lost(f"it was not ready within {self._limits.start_timeout_s:g} s")
        self._raise_if_lost()

    async def fork(self, descriptor: int, track: str = "") -> DecoderChild:
        """Start a child that decodes `track` of this file. The descriptor may be closed afterwards.

        Raises ForkServerLost: the fork server ended or hangs, and nothing was decoded.
        Raises Unavailable: the fork server works, but no child can be started now.
        """
        self._raise_if_lost()
        request = self._send_request(descriptor, track)
        try:
            done, _ = await asyncio.wait([request.result], timeout=self._limits.fork_timeout_s)
        except asyncio.CancelledError:
            _withdraw(request)
            raise
        if not done:
            self._mark_lost(f"it did not answer within {self._limits.fork_timeout_s:g} s")
        return self._child_of(request)

    async def close(self) -> None:
        """Kill the fork server and its children, and wait until it is reaped."""
        self._mark_lost("it was closed")
        if self._reaped is not None:
            await asyncio.shield(self._reaped)

    def _send_request(self, descriptor: int, track: str) -> _ForkRequest:
        ours, theirs = _channel()
        try:
            socket.send_fds(
                self._control,
                [protocol.FORK + track.encode()[: protocol.MAX_TRACK_BYTES]],
                [descriptor, theirs.fileno()],
            )
        except ConnectionError as error:
            ours.close()
            self._mark_lost("it ended")
            raise ForkServerLost(self.loss_reason) from error
        except OSError as error:  # too many requests are pending: the fork server is busy, not lost
            ours.close()
            raise _cannot_start(error) from error
        finally:
            theirs.close()
        request = _ForkRequest(ours, self._loop.create_future())
        self._requests.append(request)
        return request

    def _child_of(self, request: _ForkRequest) -> DecoderChild:
        result = request.result.result()
        if isinstance(result, DecoderChild):
            return result
        request.channel.close()
        if result is None:
            raise ForkServerLost(self.loss_reason)
        raise _cannot_start(result) from result

    def _raise_if_lost(self) -> None:
        if self.loss_reason is not None:
            raise ForkServerLost(self.loss_reason)

    def _on_packet(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, protocol.PACKET_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._mark_lost("it ended")
            return
        packet = Packet.from_bytes(data)
        if packet.kind == protocol.READY:
            self.was_ready = True
            self.restrictions = protocol.held_restrictions(packet.number)
            self._own_bytes = anonymous_bytes(self.pid)
            self._ready.set_result(True)
        elif packet.kind == protocol.EXITED:
            self._on_child_exit(packet)
        else:
            self._on_answer(self._requests.popleft(), packet, descriptors)

    def _on_child_exit(self, packet: Packet) -> None:
        child = self._children.pop(packet.pid, None)
        if child is not None:
            child.set_exit_status(packet.number)

    def _on_answer(self, request: _ForkRequest, packet: Packet, descriptors: list[int]) -> None:
        result: DecoderChild | OSError
        if packet.kind == protocol.FAILED:
            result = OSError(packet.number, os.strerror(packet.number))
        elif not descriptors:  # this process could not open the pidfd; the child ends when its channel is closed
            result = OSError("too many files are open")
        else:
            os.set_inheritable(descriptors[0], False)
            result = self._children[packet.pid] = DecoderChild(
                packet.pid, descriptors[0], request.channel, self._own_bytes
            )
        if not request.result.done():
            request.result.set_result(result)
        elif isinstance(result, DecoderChild):  # the request was withdrawn
            result.kill()

    def _mark_lost(self, reason: str) -> None:
        if self.loss_reason is not None:
            return
        self.loss_reason = reason
        self._loop.remove_reader(self._control)
        self._process.kill()  # before its socket is closed, which it would report as an error
        self._control.close()
        # The kernel may need a moment to free the process's memory. The event loop must not wait for that.
        self._reaped = self._loop.run_in_executor(None, self._process.wait)
        self._resolve_futures()
        self._on_loss(self)

    def _resolve_futures(self) -> None:
        """Wake every coroutine that waits for this process or its children."""
        if not self._ready.done():
            self._ready.set_result(False)
        for request in self._requests:
            if not request.result.done():
                request.result.set_result(None)
        for child in self._children.values():
            child.set_exit_status(None)
        self._requests.clear()
        self._children.clear()


def _channel() -> tuple[socket.socket, socket.socket]:
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise _cannot_start(error) from error
    ours.setblocking(False)
    return ours, theirs


def _withdraw(request: _ForkRequest) -> None:
    """Give up a request whose caller was cancelled. Kills the child if it has been started already."""
    request.channel.close()
    if not request.result.done():
        request.result.cancel()
        return
    result = request.result.result()
    if isinstance(result, DecoderChild):
        result.kill()


def _cannot_start(error: OSError) -> Unavailable:
    return Unavailable(f"The audio cannot be decoded now ({error.strerror or error}). Send it again.")


def _command(descriptor: int, limits: DecodeLimits) -> list[str]:
    # -I: no environment variable, user site directory or working directory decides what is imported.
    program = [sys.executable, "-I", "-m", "asr_service.decoder.sandboxed.fork_server"]
    return [*program, str(descriptor), limits.to_json(), str(os.getpid())]
