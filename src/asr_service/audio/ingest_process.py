"""One decoder child, seen from the service: started, handed a file, listened to, killed."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from typing import Self

from asr_service.audio import decoder_protocol
from asr_service.audio.decoder_protocol import DecodeLimits

_RECEIVE_BYTES = 64 * 1024
_INHERITED = ("LD_LIBRARY_PATH",)  # a Python built with a shared library may not start without it


class ChildLost(Exception):
    """The child ended, hung or spoke nonsense. The message says which."""


class DecoderChild:
    """A process that decodes one file. Belongs to one event loop."""

    def __init__(self, process: subprocess.Popen[bytes], peer: socket.socket, limits: DecodeLimits) -> None:
        self._process = process
        self._peer = peer
        self._limits = limits
        self._received = bytearray()
        self._is_ready = False

    @classmethod
    def spawn(cls, limits: DecodeLimits) -> Self:
        """Start one, without waiting for it. Raises OSError: the machine has no room for a process.

        Call on the event loop's thread: the child is killed when the thread that started it ends.
        """
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program, and no shell
                _command(theirs.fileno(), limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return cls(process, ours, limits)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until it is warm. Raises ChildLost: it ended, or took longer than `start_s`."""
        if self._is_ready:
            return
        kind, _ = await self._receive(self._limits.start_s)
        if kind != decoder_protocol.READY:
            raise ChildLost("the decoder spoke out of turn")
        self._is_ready = True

    def send_file(self, descriptor: int) -> None:
        """Hand it the file. Raises ChildLost: it ended before."""
        try:
            socket.send_fds(self._peer, [b"F"], [descriptor])
        except OSError as error:
            raise ChildLost(f"the decoder takes no file: {error}") from error

    async def receive(self) -> tuple[bytes, bytes]:
        """Kind and payload of the next frame. Raises ChildLost: it ended, or said nothing for `stall_s`."""
        return await self._receive(self._limits.stall_s)

    async def kill(self) -> None:
        """End it, wherever it is, and collect it. Harmless when it has ended."""
        self._peer.close()
        self._process.kill()
        # The kernel may need a moment to take its memory back, which the event loop must not wait for; and it is
        # collected even where this call is cancelled.
        await asyncio.shield(asyncio.to_thread(self._process.wait))

    async def _receive(self, patience_s: float) -> tuple[bytes, bytes]:
        try:
            async with asyncio.timeout(None) as deadline:
                header = await self._exactly(decoder_protocol.HEADER_BYTES, patience_s, deadline)
                kind, length = decoder_protocol.parse_header(header)
                return kind, await self._exactly(length, patience_s, deadline)
        except TimeoutError as error:
            raise ChildLost(f"the decoder made no progress for {patience_s:g} s") from error
        except ValueError as error:
            raise ChildLost(f"the decoder spoke nonsense: {error}") from error

    async def _exactly(self, n_bytes: int, patience_s: float, deadline: asyncio.Timeout) -> bytes:
        loop = asyncio.get_running_loop()
        while len(self._received) < n_bytes:
            deadline.reschedule(loop.time() + patience_s)
            try:
                chunk = await loop.sock_recv(self._peer, _RECEIVE_BYTES)
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise ChildLost(await self._obituary())
            self._received += chunk
        taken = bytes(self._received[:n_bytes])
        del self._received[:n_bytes]
        return taken

    async def _obituary(self) -> str:
        """What it died of. Its end of the channel is closed, so it is dead or as good as dead."""
        try:
            status = await asyncio.wait_for(asyncio.to_thread(self._process.wait, 1), 2)
        except (subprocess.TimeoutExpired, TimeoutError):
            return "the decoder closed its channel"
        if status == -signal.SIGXCPU:
            return "decoding it takes more processor time than a file of its size may have"
        if status < 0:
            return f"the decoder was ended by {signal.Signals(-status).name}"
        return f"the decoder ended with status {status}"


def _command(descriptor: int, limits: DecodeLimits) -> list[str]:
    # -I: no variable, no user's site directory and no working directory decides what is imported.
    child = [sys.executable, "-I", "-m", "asr_service.audio.decoder_child"]
    return [*child, str(descriptor), limits.to_json(), str(os.getpid())]
