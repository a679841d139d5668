"""Any recording into 16 kHz mono samples, decoded in a sandboxed child and read at the reader's pace.

Uploaded bytes are hostile: no byte of them is parsed in this process. One child decodes one file and is gone; whatever
becomes of it is that file's trouble. A decoder server, which reads no byte either, forks the children. The samples come
through a socket whose buffer holds a few seconds, so that a child runs ahead of its reader by no more than that.
"""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from asr_service.audio import decoder_protocol
from asr_service.audio.decoder_protocol import BYTES_PER_SAMPLE, SAMPLE_RATE, DecodeLimits, Outcome, Verdict
from asr_service.audio.ingest_child import ChildLost, DecoderChild, ServerLost
from asr_service.audio.ingest_server import DecoderServer
from asr_service.audio.ingest_turns import Turns
from asr_service.errors import (
    AudioTooLong,
    NotReady,
    RequestError,
    StartupError,
    Unavailable,
    UndecodableAudio,
    UnsupportedAudio,
)

__all__ = ["SAMPLE_RATE", "DecodeLimits", "DecodedAudio", "DecoderPool"]

_S16_FULL_SCALE: Final = 32768.0
_TRIES: Final = 3  # servers that a file is taken to, one after the other

_REFUSALS: Final[dict[Verdict, type[RequestError]]] = {
    "unsupported": UnsupportedAudio,
    "undecodable": UndecodableAudio,
    "too_long": AudioTooLong,
}

_log = structlog.get_logger(__name__)


class DecodedAudio:
    """One file's samples, as they are decoded. One reader at a time."""

    def __init__(self, start: Callable[[], Awaitable[DecoderChild]], turns: Turns, limits: DecodeLimits) -> None:
        """`start` gives the file's child; it is called when the first samples are wanted and a turn has come."""
        self._start = start
        self._turns = turns
        self._child: DecoderChild | None = None
        self._most_samples = int(limits.max_audio_s * SAMPLE_RATE) + 1
        self._pcm = bytearray()
        self._n_received = 0
        self._outcome: Outcome | None = None
        self._failure: RequestError | Unavailable | None = None
        self.n_samples = 0
        """Read so far."""
        self.announced_s: float | None = None
        """Seconds that the recording seems to last, known once samples are read: by its header, or a guess."""
        self.decode_s = 0.0
        """Wall seconds waited for samples so far: for turns, for the child's start and for its decoding."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the recording was lost; complete once `read` has returned fewer samples than asked."""
        return self._outcome.warnings if self._outcome is not None else ()

    @property
    def lost_s(self) -> float:
        """Seconds of the recording that `warnings` are about."""
        return self._outcome.lost_s if self._outcome is not None else 0.0

    async def read(self, n_samples: int) -> NDArray[np.float32]:
        """The next samples, float32 [n_samples] in -1 to 1; fewer at the end only, and none after it.

        Raises UnsupportedAudio, UndecodableAudio or AudioTooLong: the file's fault. Raises Unavailable: no child could
        be started, or the decoder ended through no fault of the file. A later call raises the same again.
        """
        if self._lacks(n_samples):
            started_s = time.perf_counter()
            try:
                await self._fill(n_samples)
            finally:
                self.decode_s += time.perf_counter() - started_s
        return self._take(n_samples)

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.kill()

    def _lacks(self, n_samples: int) -> bool:
        return len(self._pcm) < n_samples * BYTES_PER_SAMPLE and self._outcome is None

    async def _fill(self, n_samples: int) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            async with self._turns.turn():
                await self._receive(n_samples)
        except ChildLost as error:
            _log.warning("decoder child lost", pid=self._child and self._child.pid, why=str(error))
            self._failure = UndecodableAudio(f"the audio cannot be decoded: {error}")
        except ServerLost as error:
            self._failure = Unavailable(f"the audio could not be decoded: {error}; send it again")
        except (RequestError, Unavailable) as error:
            self._failure = error
        if self._failure is not None:
            raise self._failure

    async def _receive(self, n_samples: int) -> None:
        try:
            await self._receive_from_child(n_samples)
        except ServerLost:
            if self.n_samples:
                raise
            self._start_over()  # once, and only here: its reader has had nothing of it
            await self._receive_from_child(n_samples)

    async def _receive_from_child(self, n_samples: int) -> None:
        if self._child is None:
            self._child = await self._start()
        while self._lacks(n_samples):
            self._accept(*await self._child.receive())

    def _start_over(self) -> None:
        self.close()
        self._child = None
        self._pcm.clear()
        self._n_received = 0

    def _accept(self, kind: bytes, payload: bytes) -> None:
        if kind == decoder_protocol.SAMPLES:
            self._pcm += payload
            self._n_received += len(payload) // BYTES_PER_SAMPLE
            if self._n_received > self._most_samples:  # the child counts too, if it is still ours
                raise AudioTooLong("the recording is longer than its limit")
            return
        if kind == decoder_protocol.LENGTH:
            self.announced_s = _parse_length(payload)
            return
        outcome = _parse_outcome(kind, payload)
        if outcome.verdict != "decoded":
            raise _REFUSALS[outcome.verdict](outcome.message)
        self._outcome = outcome

    def _take(self, n_samples: int) -> NDArray[np.float32]:
        n_samples = min(n_samples, len(self._pcm) // BYTES_PER_SAMPLE)
        samples = np.frombuffer(self._pcm, dtype="<i2", count=n_samples).astype(np.float32)
        samples /= _S16_FULL_SCALE
        del self._pcm[: n_samples * BYTES_PER_SAMPLE]
        self.n_samples += n_samples
        return samples


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

        Raises NotReady: the pool is closed.
        """
        if not self._open:
            raise NotReady("the audio decoder is closed")
        descriptor = _reopen(file)
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


def _parse_length(payload: bytes) -> float:
    try:
        return decoder_protocol.parse_length(payload)
    except ValueError as error:
        raise ChildLost("the decoder spoke nonsense") from error


def _parse_outcome(kind: bytes, payload: bytes) -> Outcome:
    try:
        outcome = Outcome.from_bytes(payload)
    except (ValueError, TypeError, KeyError) as error:
        raise ChildLost("the decoder spoke nonsense") from error
    if kind != decoder_protocol.OUTCOME or outcome.verdict not in ("decoded", *_REFUSALS):
        raise ChildLost("the decoder spoke nonsense")
    return outcome


def _reopen(file: BinaryIO | int) -> int:
    """The same file, read-only and with a position of its own, so that the child can neither write nor move ours."""
    if not isinstance(file, int):
        file.flush()
        file = file.fileno()
    try:
        return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no /proc, or the file's owner is another by now
        return os.dup(file)
