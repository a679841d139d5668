"""The decoder server, seen from the service: started, asked for children, listened to, ended."""

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
from asr_service.decoder.child import DecoderChild, ServerLost
from asr_service.decoder.protocol import DecodeLimits, Packet
from asr_service.errors import Unavailable

_INHERITED: Final = ("LD_LIBRARY_PATH",)  # a Python built with a shared library may not start without it


@dataclass(frozen=True, slots=True)
class _Order:
    """A child that was asked for. The answer is the child, what the kernel had against it, or None with the server."""

    peer: socket.socket
    answer: asyncio.Future[DecoderChild | OSError | None]


class DecoderServer:
    """A process that forks decoder children. Belongs to one event loop."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        limits: DecodeLimits,
        on_loss: "Callable[[DecoderServer], None]",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._control = control
        self._limits = limits
        self._on_loss = on_loss
        self._orders: deque[_Order] = deque()
        self._children: dict[int, DecoderChild] = {}
        self._up: asyncio.Future[bool] = self._loop.create_future()
        self._collected: asyncio.Future[int] | None = None
        self.was_ready = False
        self.why_lost: str | None = None
        """None while it serves."""
        self._loop.add_reader(control, self._on_packet)

    @classmethod
    def spawn(cls, limits: DecodeLimits, on_loss: "Callable[[DecoderServer], None]") -> Self:
        """Start one, without waiting for it. Raises OSError: the machine has no room for a process.

        `on_loss` is called once it serves no more, whatever the reason. Call on the event loop's thread: the server is
        killed when the thread that started it ends.
        """
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program, and no shell
                _command(theirs.fileno(), limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                process_group=0,  # a terminal's Ctrl-C is not for it, nor for what it has yet to import
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

    async def ready(self) -> None:
        """Wait until it is warm. Raises ServerLost: it ended, or took longer than `start_s`."""
        done, _ = await asyncio.wait([self._up], timeout=self._limits.start_s)
        if not done:
            self._lose(f"it was not ready within {self._limits.start_s:g} s")
        self._check()

    async def fork(self, descriptor: int) -> DecoderChild:
        """A child that decodes this file, which may be closed at once.

        Raises ServerLost: it ended or hangs, and nothing was decoded. Raises Unavailable: there is no room for a child.
        """
        self._check()
        order = self._ask(descriptor)
        try:
            done, _ = await asyncio.wait([order.answer], timeout=self._limits.answer_s)
        except asyncio.CancelledError:
            _withdraw(order)
            raise
        if not done:
            self._lose(f"it did not answer within {self._limits.answer_s:g} s")
        return self._child_of(order)

    async def close(self) -> None:
        """End it and its children, and collect it."""
        self._lose("it was closed")
        if self._collected is not None:
            await asyncio.shield(self._collected)

    def _ask(self, descriptor: int) -> _Order:
        ours, theirs = _channel()
        try:
            socket.send_fds(self._control, [b"F"], [descriptor, theirs.fileno()])
        except ConnectionError as error:
            ours.close()
            self._lose("it ended")
            raise ServerLost(self.why_lost) from error
        except OSError as error:  # too much is under way: it is busy, not lost
            ours.close()
            raise _no_room(error) from error
        finally:
            theirs.close()
        order = _Order(ours, self._loop.create_future())
        self._orders.append(order)
        return order

    def _child_of(self, order: _Order) -> DecoderChild:
        answer = order.answer.result()
        if isinstance(answer, DecoderChild):
            return answer
        order.peer.close()
        if answer is None:
            raise ServerLost(self.why_lost)
        raise _no_room(answer) from answer

    def _check(self) -> None:
        if self.why_lost is not None:
            raise ServerLost(self.why_lost)

    def _on_packet(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, protocol.PACKET_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._lose("it ended")
            return
        packet = Packet.from_bytes(data)
        if packet.kind == protocol.READY:
            self.was_ready = True
            self._up.set_result(True)
        elif packet.kind == protocol.ENDED:
            self._note_end(packet)
        else:
            self._answer(self._orders.popleft(), packet, descriptors)

    def _note_end(self, packet: Packet) -> None:
        child = self._children.pop(packet.pid, None)
        if child is not None:
            child.note_end(packet.number)

    def _answer(self, order: _Order, packet: Packet, descriptors: list[int]) -> None:
        answer: DecoderChild | OSError
        if packet.kind == protocol.REFUSED:
            answer = OSError(packet.number, os.strerror(packet.number))
        elif not descriptors:  # it ends when it finds its channel closed
            answer = OSError("too many files are open")
        else:
            os.set_inheritable(descriptors[0], False)
            answer = self._children[packet.pid] = DecoderChild(packet.pid, descriptors[0], order.peer, self._limits)
        if not order.answer.done():
            order.answer.set_result(answer)
        elif isinstance(answer, DecoderChild):  # who asked is gone
            answer.kill()

    def _lose(self, why: str) -> None:
        if self.why_lost is not None:
            return
        self.why_lost = why
        self._loop.remove_reader(self._control)
        self._process.kill()  # before its socket is closed, about which it would complain
        self._control.close()
        # The kernel may need a moment to take its memory back, which the event loop must not wait for.
        self._collected = self._loop.run_in_executor(None, self._process.wait)
        self._tell_all()
        self._on_loss(self)

    def _tell_all(self) -> None:
        """Nobody waits for what will not come."""
        if not self._up.done():
            self._up.set_result(False)
        for order in self._orders:
            if not order.answer.done():
                order.answer.set_result(None)
        for child in self._children.values():
            child.note_end(None)
        self._orders.clear()
        self._children.clear()


def _channel() -> tuple[socket.socket, socket.socket]:
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise _no_room(error) from error
    ours.setblocking(False)
    return ours, theirs


def _withdraw(order: _Order) -> None:
    """Nobody wants the child any more, which may have been started already."""
    order.peer.close()
    if not order.answer.done():
        order.answer.cancel()
        return
    answer = order.answer.result()
    if isinstance(answer, DecoderChild):
        answer.kill()


def _no_room(error: OSError) -> Unavailable:
    return Unavailable(f"no process that decodes audio can be started: {error.strerror or error}")


def _command(descriptor: int, limits: DecodeLimits) -> list[str]:
    # -I: no variable, no user's site directory and no working directory decides what is imported.
    server = [sys.executable, "-I", "-m", "asr_service.decoder.sandboxed.fork_server"]
    return [*server, str(descriptor), limits.to_json(), str(os.getpid())]
