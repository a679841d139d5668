"""The samples of one file, as its decoder child sends them. Everything that a child sends is checked."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from asr_service import metrics
from asr_service.audio import SAMPLE_RATE
from asr_service.decoder import protocol
from asr_service.decoder.child import ChildFailed, ChildInterrupted, ChildLost, DecoderChild, ForkServerLost
from asr_service.decoder.memory import MemoryBudget
from asr_service.decoder.permits import DecodePermits
from asr_service.decoder.protocol import BYTES_PER_SAMPLE, DecodeLimits, DecodeOutcome, RecordingWarning, Verdict
from asr_service.errors import (
    AsrError,
    AudioTooLong,
    DecoderFailed,
    InvalidParameter,
    RequestError,
    Unavailable,
    UndecodableAudio,
    UnsupportedAudio,
)

_S16_FULL_SCALE: Final = 32768.0
_TURN_S: Final = 0.25
"""How long a child runs before another reader's child may have its turn."""
_MEASURE_S: Final = 0.05
"""Time between two measurements of the memory of a child that runs."""
_MIN_CPU_SHARE: Final = 0.1
"""A child that hangs in FFmpeg uses more than this share of a core; one that is stopped uses none."""

_ERRORS: Final[dict[Verdict, type[RequestError]]] = {
    "unsupported": UnsupportedAudio,
    "undecodable": UndecodableAudio,
    "too_long": AudioTooLong,
    "no_such_track": InvalidParameter,
}
_PARAMETERS: Final[dict[Verdict, str]] = {"no_such_track": "audio_track"}

_Parsed = TypeVar("_Parsed")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the recording without audio, which has no samples."""

    at: int
    """Number of samples before it."""
    n_absent: int
    """Duration of this gap and all before it, in samples."""


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """What all files of a pool share."""

    permits: DecodePermits
    memory: MemoryBudget


class _Progress:
    """Notices a child that runs and sends nothing."""

    def __init__(self) -> None:
        self._n_received = -1
        self._silent_s = 0.0
        self._cpu_s = 0.0

    def check(self, child: DecoderChild, ran_s: float, timeout_s: float) -> None:
        """Record that the child ran. Raises ChildLost or ChildInterrupted: it has sent nothing for `timeout_s`."""
        if child.n_received != self._n_received:
            self._n_received, self._silent_s, self._cpu_s = child.n_received, 0.0, child.cpu_s
            return
        self._silent_s += ran_s
        if self._silent_s < timeout_s:
            return
        reason = f"the decoder made no progress for {timeout_s:g} s"
        is_busy = child.cpu_s - self._cpu_s > _MIN_CPU_SHARE * self._silent_s
        raise ChildLost(reason) if is_busy else ChildInterrupted(reason)


class DecodedAudio:
    """The samples of one file. They are decoded while they are read, by one reader at a time."""

    def __init__(
        self, start: Callable[[], Awaitable[DecoderChild]], shared: SharedLimits, limits: DecodeLimits
    ) -> None:
        """Create it without starting a child. The first `read` calls `start`, once it holds a permit."""
        self._start = start
        self._shared = shared
        self._limits = limits
        self._child: DecoderChild | None = None
        self._max_samples = int(limits.max_audio_s * SAMPLE_RATE) + 1
        self._pcm = bytearray()
        self._n_received = 0
        self._n_absent = 0
        self._is_last_of_kind = False
        self._has_started_over = False
        self._outcome: DecodeOutcome | None = None
        self._failure: AsrError | None = None
        self._ran_s = 0.0
        self._progress = _Progress()
        self.n_samples = 0
        """Number of samples read so far."""
        self.estimated_duration_s: float | None = None
        """Duration by the file's header, or FFmpeg's estimate. None before the first `read`, or if unknown."""
        self.gaps: list[Gap] = []
        """The gaps before or within the samples received so far, in order. A late start is a gap at 0."""
        self.decode_s = 0.0
        """Wall-clock seconds spent in `read` so far: waiting for permits, for the child's start and for decoding."""

    @property
    def warnings(self) -> tuple[RecordingWarning, ...]:
        """Warnings about the recording for the client, such as parts that were lost.

        Complete once `read` has returned fewer samples than requested.
        """
        return self._outcome.warnings if self._outcome is not None else ()

    @property
    def end_s(self) -> float:
        """The place in the recording of the last sample read, in seconds."""
        return (self.n_samples + self.n_absent_before(self.n_samples - 1)) / SAMPLE_RATE if self.n_samples else 0.0

    def n_absent_before(self, sample: int) -> int:
        """Return the duration of the gaps before a sample, in samples. Its place is the sum of both."""
        n_gaps = bisect_right(self.gaps, sample, key=lambda gap: gap.at)
        return self.gaps[n_gaps - 1].n_absent if n_gaps else 0

    async def read(self, n_samples: int) -> NDArray[np.float32]:
        """Return the next samples, float32 [n_samples] in -1 to 1. Fewer, or none, only at the end of the recording.

        Raises UnsupportedAudio, UndecodableAudio or AudioTooLong: the file is at fault.
        Raises InvalidParameter: the file has no such track.
        Raises Unavailable: no child could be started, or the decoder ended and the file is not at fault.
        Raises DecoderFailed: our own code failed.
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
            self._shared.memory.forget(self._child)
            self._child.kill()

    def _needs_more(self, n_samples: int) -> bool:
        return len(self._pcm) < n_samples * BYTES_PER_SAMPLE and self._outcome is None

    async def _fill(self, n_samples: int) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            while self._needs_more(n_samples):
                async with self._shared.permits.acquire(self._ran_s):
                    await self._take_turn(n_samples)
        except (ChildLost, ChildInterrupted, ChildFailed, ForkServerLost) as error:
            self._failure = self._error_for(error)
        except (RequestError, Unavailable) as error:
            self._failure = error
        if self._failure is not None:
            raise self._failure

    def _error_for(self, error: Exception) -> AsrError:
        pid = self._child and self._child.pid
        match error:
            case ChildLost():
                _log.warning("decoder child lost", pid=pid, reason=str(error))
                return UndecodableAudio(f"The audio could not be decoded ({error}).")
            case ChildFailed():
                metrics.DECODER_FAILURES.labels("bug").inc()
                _log.error("decoder child failed", pid=pid, traceback=str(error))
                return DecoderFailed("The decoder failed on this file. The service's log has the details.")
            case ChildInterrupted():
                metrics.DECODER_FAILURES.labels("interrupted").inc()
                _log.warning("decoder child interrupted", pid=pid, reason=str(error))
        return Unavailable(f"The audio could not be decoded ({error}). Send it again.")

    async def _take_turn(self, n_samples: int) -> None:
        """Let the child run until enough samples are there or its turn is over."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            await self._receive_or_start_over(n_samples, started_s + _TURN_S)
        finally:
            self._ran_s += loop.time() - started_s
        if self._child is not None:
            self._shared.memory.measure(self._child, self._child.shared_bytes)
            self._progress.check(self._child, loop.time() - started_s, self._limits.stall_timeout_s)

    async def _receive_or_start_over(self, n_samples: int, until_s: float) -> None:
        try:
            await self._receive(n_samples, until_s)
        except ForkServerLost:
            if self.n_samples or self._has_started_over:  # the reader already has samples, or this is no accident
                raise
            self._start_over()

    async def _receive(self, n_samples: int, until_s: float) -> None:
        if self._child is None:
            self._child = await self._start()
        child, loop = self._child, asyncio.get_running_loop()
        child.resume()
        try:
            while self._needs_more(n_samples):
                frame = await child.receive(min(until_s, loop.time() + _MEASURE_S))
                if frame is not None:
                    self._handle_frame(*frame)
                else:
                    self._shared.memory.measure(child, child.shared_bytes)
                    if loop.time() >= until_s:
                        return
        finally:
            if self._outcome is None:
                child.pause()

    def _start_over(self) -> None:
        self.close()
        self._child = None
        self._has_started_over = True
        self.estimated_duration_s = None
        self._progress = _Progress()
        self._pcm.clear()
        self.gaps.clear()
        self._n_received = self._n_absent = 0
        self._is_last_of_kind = False

    def _handle_frame(self, kind: bytes, payload: bytes) -> None:
        if kind == protocol.SAMPLES:
            self._add_samples(payload)
        elif kind == protocol.DURATION and self.estimated_duration_s is None:
            self.estimated_duration_s = _parse(protocol.parse_duration, payload)
        elif kind == protocol.GAP:
            self._add_gap(payload)
        elif kind == protocol.OUTCOME:
            outcome = _parse(DecodeOutcome.from_bytes, payload)
            if outcome.verdict != "decoded":
                raise _ERRORS[outcome.verdict](outcome.message, param=_PARAMETERS.get(outcome.verdict))
            self._outcome = outcome
        else:
            raise ChildLost("internal decoder error")

    def _add_samples(self, payload: bytes) -> None:
        if not payload or len(payload) % BYTES_PER_SAMPLE or self._is_last_of_kind:
            raise ChildLost("internal decoder error")
        self._is_last_of_kind = len(payload) < protocol.MAX_PAYLOAD_BYTES
        self._pcm += payload
        self._n_received += len(payload) // BYTES_PER_SAMPLE
        if self._n_received > self._max_samples:  # the child checks this too, unless it is compromised
            raise AudioTooLong("The recording is longer than its limit.")

    def _add_gap(self, payload: bytes) -> None:
        n_samples = _parse(protocol.parse_gap, payload)
        self._n_absent += n_samples
        is_early = self.gaps and self._n_received - self.gaps[-1].at < protocol.MIN_SAMPLES_BETWEEN_GAPS
        if is_early or not n_samples or self._n_absent > self._max_samples or len(self.gaps) >= protocol.MAX_GAPS:
            raise ChildLost("internal decoder error")
        self.gaps.append(Gap(self._n_received, self._n_absent))
        self._is_last_of_kind = False

    def _take(self, n_samples: int) -> NDArray[np.float32]:
        n_samples = min(n_samples, len(self._pcm) // BYTES_PER_SAMPLE)
        samples = np.frombuffer(self._pcm, dtype="<i2", count=n_samples).astype(np.float32)
        samples /= _S16_FULL_SCALE
        del self._pcm[: n_samples * BYTES_PER_SAMPLE]
        self.n_samples += n_samples
        return samples


def _parse(parse: Callable[[bytes], _Parsed], payload: bytes) -> _Parsed:
    try:
        return parse(payload)
    except ValueError as error:
        raise ChildLost("internal decoder error") from error
