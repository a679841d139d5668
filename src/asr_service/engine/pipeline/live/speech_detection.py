"""Finds where speech begins, pauses and ends, frame by frame. Pure: no clock, no model.

The thresholds are those of `audio.vad`: speech begins at the threshold and ends below a lower one. A position is a
number of samples from the start of the session.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.silero import FRAME

_HYSTERESIS: Final = 0.15
_MIN_SPEECH_FRAMES: Final = 3
"""Frames of speech, 96 ms, before a turn opens: a click or a knock opens none."""
_MAX_GAP_FRAMES: Final = 3
"""Frames without speech that may lie between those."""


@dataclass(frozen=True, slots=True)
class Began:
    """Speech began at a position. Known three frames of speech later."""

    at: int


@dataclass(frozen=True, slots=True)
class Paused:
    """There was no speech for the length of a pause. Speech may go on."""

    at: int
    """The end of the speech."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Speech goes on after a pause."""

    at: int


@dataclass(frozen=True, slots=True)
class Ended:
    """There was no speech for so long that the speech has ended."""

    at: int
    """The end of the speech."""
    known_at: int
    """The position at which the silence was long enough."""


Change = Began | Paused | Resumed | Ended


class SpeechDetector:
    """Follows the probabilities of speech of one session."""

    def __init__(
        self, threshold: float, silence_ms: int, pause_ms: int, position: int = 0, *, is_speaking: bool = False
    ) -> None:
        """Begin at a position, inside or outside speech. Speech ends after `silence_ms` and pauses after `pause_ms`."""
        self._threshold = threshold
        self._silence_frames = max(1, round(silence_ms * SAMPLE_RATE / 1000 / FRAME))
        self._pause_frames = max(1, round(pause_ms * SAMPLE_RATE / 1000 / FRAME))
        self._position = position
        self._recent: deque[int] = deque(maxlen=_MIN_SPEECH_FRAMES)
        """Starts of the latest frames of speech, while none has begun."""
        self._is_speaking = is_speaking
        self._is_pausing = False
        self.speech_end = position
        """The end of the last frame of speech."""

    def push(self, probability: float) -> Iterator[Change]:
        """Take the next frame and yield what changes."""
        start, self._position = self._position, self._position + FRAME
        yield from self._in_speech(probability) if self._is_speaking else self._in_silence(probability, start)

    def reset(self) -> None:
        """Leave the speech, as after `Ended`."""
        self._is_speaking = self._is_pausing = False
        self._recent.clear()

    def _in_silence(self, probability: float, start: int) -> Iterator[Change]:
        if probability < self._threshold:
            return
        if self._recent and start - self._recent[-1] > (_MAX_GAP_FRAMES + 1) * FRAME:
            self._recent.clear()
        self._recent.append(start)
        if len(self._recent) == _MIN_SPEECH_FRAMES:
            began = self._recent[0]
            self._recent.clear()
            self._is_speaking, self.speech_end = True, self._position
            yield Began(began)

    def _in_speech(self, probability: float) -> Iterator[Change]:
        if probability >= self._threshold or (
            not self._is_pausing and self._is_adjacent and probability >= self._silence_threshold
        ):
            self.speech_end = self._position
            if self._is_pausing:
                self._is_pausing = False
                yield Resumed(self._position - FRAME)
            return
        n_silent = (self._position - self.speech_end) // FRAME
        if n_silent >= self._silence_frames:
            end = self.speech_end
            self.reset()
            yield Ended(end, self._position)
        elif n_silent >= self._pause_frames and not self._is_pausing:
            self._is_pausing = True
            yield Paused(self.speech_end)

    @property
    def _is_adjacent(self) -> bool:
        """True if the frame before was speech: only then does a probability between the thresholds count as speech."""
        return self._position - FRAME == self.speech_end

    @property
    def _silence_threshold(self) -> float:
        return max(self._threshold - _HYSTERESIS, 0.01)
