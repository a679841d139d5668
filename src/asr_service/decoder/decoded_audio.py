"""The samples of one file, as its decoder child sends them. Everything that a child sends is checked."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder import protocol
from asr_service.decoder.child import ChildLost, DecoderChild, ForkServerLost
from asr_service.decoder.permits import DecodePermits
from asr_service.decoder.protocol import BYTES_PER_SAMPLE, DecodeLimits, Outcome, Verdict
from asr_service.errors import AudioTooLong, RequestError, Unavailable, UndecodableAudio, UnsupportedAudio

_S16_FULL_SCALE: Final = 32768.0

_ERRORS: Final[dict[Verdict, type[RequestError]]] = {
    "unsupported": UnsupportedAudio,
    "undecodable": UndecodableAudio,
    "too_long": AudioTooLong,
}

_log = structlog.get_logger(__name__)


class DecodedAudio:
    """The samples of one file. They are decoded while they are read, by one reader at a time."""

    def __init__(
        self, start: Callable[[], Awaitable[DecoderChild]], permits: DecodePermits, limits: DecodeLimits
    ) -> None:
        """Create it without starting a child. The first `read` calls `start`, once it holds a permit."""
        self._start = start
        self._permits = permits
        self._child: DecoderChild | None = None
        self._max_samples = int(limits.max_audio_s * SAMPLE_RATE) + 1
        self._pcm = bytearray()
        self._n_received = 0
        self._outcome: Outcome | None = None
        self._failure: RequestError | Unavailable | None = None
        self.n_samples = 0
        """Number of samples read so far."""
        self.estimated_duration_s: float | None = None
        """Duration by the file's header, or FFmpeg's estimate. None before the first `read`, or if unknown."""
        self.decode_s = 0.0
        """Wall-clock seconds spent in `read` so far: waiting for permits, for the child's start and for decoding."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The parts of the recording that were lost. Complete once `read` has returned fewer samples than requested."""
        return self._outcome.warnings if self._outcome is not None else ()

    @property
    def lost_s(self) -> float:
        """Seconds of the recording that were lost, as described by `warnings`."""
        return self._outcome.lost_s if self._outcome is not None else 0.0

    async def read(self, n_samples: int) -> NDArray[np.float32]:
        """Return the next samples, float32 [n_samples] in -1 to 1. Fewer, or none, only at the end of the recording.

        Raises UnsupportedAudio, UndecodableAudio or AudioTooLong: the file is at fault.
        Raises Unavailable: no child could be started, or the decoder ended and the file is not at fault.
        After an error, each further call raises the same error.
        """
        if self._needs_more(n_samples):
            started_s = time.perf_counter()
            try:
                await self._fill(n_samples)
            finally:
                self.decode_s += time.perf_counter() - started_s
        return self._take(n_samples)

    def close(self) -> None:
        """Kill the child, if there is one."""
        if self._child is not None:
            self._child.kill()

    def _needs_more(self, n_samples: int) -> bool:
        return len(self._pcm) < n_samples * BYTES_PER_SAMPLE and self._outcome is None

    async def _fill(self, n_samples: int) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            async with self._permits.acquire():
                await self._receive_or_start_over(n_samples)
        except ChildLost as error:
            _log.warning("decoder child lost", pid=self._child and self._child.pid, reason=str(error))
            self._failure = UndecodableAudio(f"The audio could not be decoded ({error}).")
        except ForkServerLost as error:
            self._failure = Unavailable(f"The audio could not be decoded ({error}). Send it again.")
        except (RequestError, Unavailable) as error:
            self._failure = error
        if self._failure is not None:
            raise self._failure

    async def _receive_or_start_over(self, n_samples: int) -> None:
        try:
            await self._receive(n_samples)
        except ForkServerLost:
            if self.n_samples:  # the reader already has samples
                raise
            self._start_over()
            await self._receive(n_samples)

    async def _receive(self, n_samples: int) -> None:
        if self._child is None:
            self._child = await self._start()
        while self._needs_more(n_samples):
            self._handle_frame(*await self._child.receive())

    def _start_over(self) -> None:
        self.close()
        self._child = None
        self._pcm.clear()
        self._n_received = 0
        self.estimated_duration_s = None

    def _handle_frame(self, kind: bytes, payload: bytes) -> None:
        if kind == protocol.SAMPLES:
            self._add_samples(payload)
        elif kind == protocol.DURATION and self.estimated_duration_s is None:
            self.estimated_duration_s = _parse_duration(payload)
        else:
            outcome = _parse_outcome(kind, payload)
            if outcome.verdict != "decoded":
                raise _ERRORS[outcome.verdict](outcome.message)
            self._outcome = outcome

    def _add_samples(self, payload: bytes) -> None:
        if not payload or len(payload) % BYTES_PER_SAMPLE:
            raise ChildLost("internal decoder error")
        self._pcm += payload
        self._n_received += len(payload) // BYTES_PER_SAMPLE
        if self._n_received > self._max_samples:  # the child checks this too, unless it is compromised
            raise AudioTooLong("The recording is longer than its limit.")

    def _take(self, n_samples: int) -> NDArray[np.float32]:
        n_samples = min(n_samples, len(self._pcm) // BYTES_PER_SAMPLE)
        samples = np.frombuffer(self._pcm, dtype="<i2", count=n_samples).astype(np.float32)
        samples /= _S16_FULL_SCALE
        del self._pcm[: n_samples * BYTES_PER_SAMPLE]
        self.n_samples += n_samples
        return samples


def _parse_duration(payload: bytes) -> float:
    try:
        return protocol.parse_duration(payload)
    except ValueError as error:
        raise ChildLost("internal decoder error") from error


def _parse_outcome(kind: bytes, payload: bytes) -> Outcome:
    try:
        outcome = Outcome.from_bytes(payload)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ChildLost("internal decoder error") from error
    if kind != protocol.OUTCOME or outcome.verdict not in ("decoded", *_ERRORS):
        raise ChildLost("internal decoder error")
    return outcome
