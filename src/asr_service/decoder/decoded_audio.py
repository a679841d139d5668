"""One file's samples, as its decoder child gives them: received, counted, believed in nothing."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder import protocol
from asr_service.decoder.child import ChildLost, DecoderChild, ServerLost
from asr_service.decoder.permits import Turns
from asr_service.decoder.protocol import BYTES_PER_SAMPLE, DecodeLimits, Outcome, Verdict
from asr_service.errors import AudioTooLong, RequestError, Unavailable, UndecodableAudio, UnsupportedAudio

_S16_FULL_SCALE: Final = 32768.0

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
        self.estimated_duration_s: float | None = None
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
        self.estimated_duration_s = None

    def _accept(self, kind: bytes, payload: bytes) -> None:
        if kind == protocol.SAMPLES:
            if not payload or len(payload) % BYTES_PER_SAMPLE:
                raise ChildLost("the decoder spoke nonsense")
            self._pcm += payload
            self._n_received += len(payload) // BYTES_PER_SAMPLE
            if self._n_received > self._most_samples:  # the child counts too, if it is still ours
                raise AudioTooLong("the recording is longer than its limit")
            return
        if kind == protocol.LENGTH and self.estimated_duration_s is None:
            self.estimated_duration_s = _parse_length(payload)
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


def _parse_length(payload: bytes) -> float:
    try:
        return protocol.parse_length(payload)
    except ValueError as error:
        raise ChildLost("the decoder spoke nonsense") from error


def _parse_outcome(kind: bytes, payload: bytes) -> Outcome:
    try:
        outcome = Outcome.from_bytes(payload)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ChildLost("the decoder spoke nonsense") from error
    if kind != protocol.OUTCOME or outcome.verdict not in ("decoded", *_REFUSALS):
        raise ChildLost("the decoder spoke nonsense")
    return outcome
