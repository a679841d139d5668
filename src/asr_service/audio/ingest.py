"""Any recording into 16 kHz mono samples, decoded in a sandboxed child and read at the reader's pace.

Uploaded bytes are hostile: no byte of them is parsed in this process. One child decodes one file and is gone; whatever
becomes of it is that file's trouble. The samples come through a socket whose buffer holds a few seconds, so that a
child runs ahead of its reader by no more than that.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from asr_service.audio import decoder_protocol
from asr_service.audio.decoder_protocol import BYTES_PER_SAMPLE, SAMPLE_RATE, DecodeLimits, Outcome, Verdict
from asr_service.audio.ingest_process import ChildLost, DecoderChild
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
_LEAST_STARTS_AT_ONCE: Final = 2
_STARTS: Final = 2  # a fresh child that does not start is tried once more

_REFUSALS: Final[dict[Verdict, type[RequestError]]] = {
    "unsupported": UnsupportedAudio,
    "undecodable": UndecodableAudio,
    "too_long": AudioTooLong,
}

_log = structlog.get_logger(__name__)


class DecodedAudio:
    """One file's samples, as they are decoded. One reader at a time."""

    def __init__(self, child: DecoderChild, limits: DecodeLimits) -> None:
        self._child = child
        self._most_samples = int(limits.max_audio_s * SAMPLE_RATE) + 1
        self._pcm = bytearray()
        self._n_received = 0
        self._outcome: Outcome | None = None
        self._failure: RequestError | None = None
        self.n_samples = 0
        """Read so far."""
        self.decode_s = 0.0
        """Wall seconds spent waiting on the child so far."""

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

        Raises UnsupportedAudio, UndecodableAudio or AudioTooLong, and again on each later call.
        """
        started_s = time.perf_counter()
        try:
            while len(self._pcm) < n_samples * BYTES_PER_SAMPLE and self._outcome is None:
                await self._receive()
        finally:
            self.decode_s += time.perf_counter() - started_s
        return self._take(n_samples)

    async def _receive(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            self._accept(*await self._child.receive())
        except ChildLost as error:
            _log.warning("decoder child lost", pid=self._child.pid, why=str(error))
            self._failure = UndecodableAudio(f"the audio cannot be decoded: {error}")
        except RequestError as error:
            self._failure = error
        if self._failure is not None:
            raise self._failure

    def _accept(self, kind: bytes, payload: bytes) -> None:
        if kind == decoder_protocol.SAMPLES:
            self._pcm += payload
            self._n_received += len(payload) // BYTES_PER_SAMPLE
            if self._n_received > self._most_samples:  # the child counts too, if it is still ours
                raise AudioTooLong("the recording is longer than its limit")
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
    """Keeps `spares` children warm. Every decode takes one, and another is started in its place at once."""

    def __init__(self, limits: DecodeLimits, *, spares: int) -> None:
        self._limits = limits
        self._n_spares = spares
        self._spares: deque[DecoderChild] = deque()
        self._open = False
        # A crowd that arrives at once starts its children a few at a time, first come first served: all together, the
        # first of them would be warm no sooner than the last.
        self._starts = asyncio.Semaphore(max(_LEAST_STARTS_AT_ONCE, spares))

    async def start(self) -> None:
        """Start the spares and wait until they are warm. Raises StartupError: a child does not start."""
        self._open = True
        try:
            self._spares.extend(DecoderChild.spawn(self._limits) for _ in range(self._n_spares))
            for child in self._spares:  # they warm up side by side, whoever is waited for
                await child.ready()
        except (ChildLost, OSError) as error:
            await self.close()
            raise StartupError(f"the audio decoder cannot be started: {error}") from error

    async def close(self) -> None:
        """End the spares. A child at work ends with its own `decode`."""
        self._open = False
        spares, self._spares = self._spares, deque()
        await asyncio.gather(*(child.kill() for child in spares))

    @asynccontextmanager
    async def decode(self, file: BinaryIO | int) -> AsyncIterator[DecodedAudio]:
        """Decode an open, seekable file from its beginning, wherever its position is. The child ends with the context.

        Raises NotReady: the pool is closed. Raises Unavailable: no child could be started.
        """
        descriptor = _reopen(file)
        try:
            async with self._starts:
                child = await self._take()
            try:
                yield self._begin(child, descriptor)
            finally:
                await child.kill()
        finally:
            os.close(descriptor)

    def _begin(self, child: DecoderChild, descriptor: int) -> DecodedAudio:
        with contextlib.suppress(ChildLost):  # `read` will say so
            child.send_file(descriptor)
        self._top_up()
        return DecodedAudio(child, self._limits)

    async def _take(self) -> DecoderChild:
        """A warm child, out of the pool. One that died waiting is passed over."""
        for _ in range(len(self._spares) + _STARTS):
            if not self._open:
                raise NotReady("the audio decoder is closed")
            child = self._next()
            try:
                await child.ready()
            except BaseException as error:
                await child.kill()
                if not isinstance(error, ChildLost):
                    raise
                _log.warning("decoder child did not start", pid=child.pid, why=str(error))
            else:
                if child.is_alive():
                    return child
                await child.kill()
        raise Unavailable("the audio decoder cannot be started")

    def _next(self) -> DecoderChild:
        if self._spares:
            return self._spares.popleft()
        try:
            return DecoderChild.spawn(self._limits)
        except OSError as error:
            raise Unavailable(f"the audio decoder cannot be started: {error}") from error

    def _top_up(self) -> None:
        while self._open and len(self._spares) < self._n_spares:
            try:
                self._spares.append(DecoderChild.spawn(self._limits))
            except OSError as error:
                _log.warning("no spare decoder child", why=str(error))
                return


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
