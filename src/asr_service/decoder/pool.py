"""Decode any recording to 16 kHz mono samples in a sandboxed child process.

Uploaded files are untrusted, so this process parses none of their bytes. A child decodes one file and exits. If the
child dies, only the request with that file fails. A fork server, which reads no file either, forks the children. A
socket carries the samples. Its buffer holds a few seconds of audio, which limits how far a child can be ahead of its
reader. docs/architecture.md has a sequence diagram.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

import structlog

from asr_service import metrics
from asr_service.decoder.child import DecoderChild, ForkServerLost
from asr_service.decoder.decoded_audio import DecodedAudio, Gap, SharedLimits
from asr_service.decoder.memory import MemoryBudget
from asr_service.decoder.permits import DecodePermits
from asr_service.decoder.process import DecoderProcess
from asr_service.decoder.protocol import RESTRICTIONS, DecodeLimits
from asr_service.errors import ConfigurationError, NotReady, StartupError, Unavailable

__all__ = ["DecodeLimits", "DecodedAudio", "DecoderPool", "Gap"]

_MAX_TRIES: Final = 3  # fork servers that are tried for one file

_log = structlog.get_logger(__name__)


class DecoderPool:
    """Decodes files, each in a child process of its own."""

    def __init__(self, limits: DecodeLimits, *, max_parallel: int | None = None, require_sandbox: bool = False) -> None:
        """Create a pool that is not started.

        `max_parallel` is the number of children that may run at a time, by default one per CPU core. With
        `require_sandbox`, it decodes nothing unless every restriction holds.
        """
        self._limits = limits
        self._require_sandbox = require_sandbox
        permits = DecodePermits(max_parallel or len(os.sched_getaffinity(0)))
        self._shared = SharedLimits(permits, MemoryBudget(max(limits.total_memory_bytes, limits.memory_bytes)))
        self._process: DecoderProcess | None = None
        self._open = False

    async def start(self) -> None:
        """Start the fork server and wait until it is ready.

        Raises StartupError: it does not start.
        Raises ConfigurationError: a restriction is required and does not hold.
        """
        self._open = True
        try:
            process = self._ensure_process()
            await process.wait_ready()
        except (ForkServerLost, Unavailable) as error:
            await self.close()
            raise StartupError(f"the audio decoder cannot be started: {error.__cause__ or error}") from error
        try:
            self._report(process.restrictions)
        except ConfigurationError:
            await self.close()
            raise

    @property
    def restrictions(self) -> dict[str, bool]:
        """Whether each of `protocol.RESTRICTIONS` holds on this machine. Empty while no fork server is ready."""
        return dict(self._process.restrictions) if self._process is not None else {}

    async def close(self) -> None:
        """End the fork server and every decoding that is in progress."""
        self._open = False
        process, self._process = self._process, None
        if process is not None:
            await process.close()

    @asynccontextmanager
    async def decode(self, file: BinaryIO | int, track: str | None = None) -> AsyncIterator[DecodedAudio]:
        """Decode an open, seekable file from its beginning. Its position is neither used nor moved.

        `track` chooses one of several audio tracks: its number from 1, or a language. The child is killed when the
        context ends.

        Raises NotReady: the pool is closed.
        Raises Unavailable: too many files are open.
        """
        if not self._open:
            raise NotReady("The audio decoder is closed.")
        try:
            descriptor = _reopen(file)
        except OSError as error:
            raise Unavailable(f"The audio cannot be decoded now ({error.strerror}). Send it again.") from error
        audio = DecodedAudio(lambda: self._start_child(descriptor, track or ""), self._shared, self._limits)
        try:
            yield audio
        finally:
            audio.close()
            os.close(descriptor)

    async def _start_child(self, descriptor: int, track: str) -> DecoderChild:
        """Start a child for the file. If the fork server is lost before it has the file, try the next one."""
        for _ in range(_MAX_TRIES):
            process = self._ensure_process()
            try:
                await process.wait_ready()
                return await process.fork(descriptor, track)
            except ForkServerLost:
                continue
        raise Unavailable("The audio decoder cannot be started.")

    def _report(self, restrictions: dict[str, bool]) -> None:
        """Publish which restrictions hold. Raises ConfigurationError: one is required and does not hold."""
        for name, holds in restrictions.items():
            metrics.DECODER_RESTRICTION.labels(name).set(holds)
        missing = [name for name, holds in restrictions.items() if not holds]
        if not missing:
            return
        if self._require_sandbox:
            what = ", ".join(f"{name} (a decoder {RESTRICTIONS[name]})" for name in missing)
            raise ConfigurationError(f"ASR_DECODER_SANDBOX=require, but these restrictions do not hold here: {what}")
        _log.warning("decoder restrictions missing", missing=missing)

    def _ensure_process(self) -> DecoderProcess:
        if not self._open:
            raise NotReady("The audio decoder is closed.")
        if self._process is None:
            try:
                self._process = DecoderProcess.spawn(self._limits, self._replace)
            except OSError as error:
                raise Unavailable(f"The audio decoder cannot be started ({error}).") from error
        return self._process

    def _replace(self, lost: DecoderProcess) -> None:
        """Start the next fork server now, so that the next file does not wait for it.

        A fork server that was never ready is not replaced here: the next one would most likely fail too.
        """
        if not self._open or self._process is not lost:
            return
        self._process = None
        _log.warning("fork server lost", pid=lost.pid, reason=lost.loss_reason)
        if lost.was_ready:
            with contextlib.suppress(Unavailable):  # the next file tries again
                self._ensure_process()


def _reopen(file: BinaryIO | int) -> int:
    """Open the same file read-only, with its own position: the child cannot write to it or move the caller's position.

    Raises OSError: too many files are open.
    """
    if not isinstance(file, int):
        file.flush()
        file = file.fileno()
    try:
        return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # there is no /proc, or the file belongs to another user now
        return os.dup(file)
