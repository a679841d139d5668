"""Any recording into 16 kHz mono samples, decoded in a sandboxed child and read at the reader's pace.

Uploaded bytes are hostile: no byte of them is parsed in this process. One child decodes one file and is gone; whatever
becomes of it is that file's trouble. A decoder server, which reads no byte either, forks the children. The samples come
through a socket whose buffer holds a few seconds, so that a child runs ahead of its reader by no more than that.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

import structlog

from asr_service.decoder.child import DecoderChild, ServerLost
from asr_service.decoder.decoded_audio import DecodedAudio
from asr_service.decoder.permits import Turns
from asr_service.decoder.process import DecoderServer
from asr_service.decoder.protocol import DecodeLimits
from asr_service.errors import NotReady, StartupError, Unavailable

__all__ = ["DecodeLimits", "DecodedAudio", "DecoderPool"]

_TRIES: Final = 3  # servers that a file is taken to, one after the other

_log = structlog.get_logger(__name__)


class DecoderPool:
    """Decodes files, `at_once` of them side by side (by default, as many as there are cores); the rest wait a turn."""

    def __init__(self, limits: DecodeLimits, *, at_once: int | None = None) -> None:
        self._limits = limits
        self._turns = Turns(at_once or len(os.sched_getaffinity(0)))
        self._server: DecoderServer | None = None
        self._open = False

    async def start(self) -> None:
        """Start the decoder server and wait until it is warm. Raises StartupError: it does not start."""
        self._open = True
        try:
            await self._serving().ready()
        except (ServerLost, Unavailable) as error:
            await self.close()
            raise StartupError(f"the audio decoder cannot be started: {error}") from error

    async def close(self) -> None:
        """End the decoder server and whatever is being decoded."""
        self._open = False
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    @asynccontextmanager
    async def decode(self, file: BinaryIO | int) -> AsyncIterator[DecodedAudio]:
        """Decode an open, seekable file from its beginning, wherever its position is. The child ends with the context.

        Raises NotReady: the pool is closed. Raises Unavailable: too many files are open.
        """
        if not self._open:
            raise NotReady("the audio decoder is closed")
        try:
            descriptor = _reopen(file)
        except OSError as error:
            raise Unavailable(f"the audio cannot be decoded at the moment: {error.strerror}; send it again") from error
        audio = DecodedAudio(lambda: self._begin(descriptor), self._turns, self._limits)
        try:
            yield audio
        finally:
            audio.close()
            os.close(descriptor)

    async def _begin(self, descriptor: int) -> DecoderChild:
        """A child at work on the file. A server that is lost before it has the file costs nothing but time."""
        for _ in range(_TRIES):
            server = self._serving()
            try:
                await server.ready()
                return await server.fork(descriptor)
            except ServerLost:
                continue
        raise Unavailable("the audio decoder cannot be started")

    def _serving(self) -> DecoderServer:
        if not self._open:
            raise NotReady("the audio decoder is closed")
        if self._server is None:
            try:
                self._server = DecoderServer.spawn(self._limits, self._replace)
            except OSError as error:
                raise Unavailable(f"the audio decoder cannot be started: {error}") from error
        return self._server

    def _replace(self, lost: DecoderServer) -> None:
        """Start another at once; the next file would have to wait for it. One that never came up is not insisted on."""
        if not self._open or self._server is not lost:
            return
        self._server = None
        _log.warning("decoder server lost", pid=lost.pid, why=lost.why_lost)
        if lost.was_ready:
            with contextlib.suppress(Unavailable):  # the next file tries again
                self._serving()


def _reopen(file: BinaryIO | int) -> int:
    """The same file, read-only and with a position of its own, so that the child can neither write nor move ours."""
    if not isinstance(file, int):
        file.flush()
        file = file.fileno()
    try:
        return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no /proc, or the file's owner is another by now
        return os.dup(file)
