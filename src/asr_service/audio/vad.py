"""Voice activity detection: the spans of a recording that contain speech."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.silero import FRAME, speech_probabilities

_HYSTERESIS = 0.15
"""Speech ends only if the probability falls this far below the threshold."""


@dataclass(frozen=True, slots=True)
class VadOptions:
    threshold: float = 0.5
    """Minimum probability of speech."""
    min_silence_duration_ms: int = 2000
    """Minimum silence that ends a span. The model needs the pauses of speech: without those of half a second to two
    seconds, more words were wrong (docs/performance.md)."""
    speech_pad_ms: int = 400
    """Padding on both sides of a span, so that no word is cut off."""

    @property
    def lookahead(self) -> int:
        """Number of samples after a span that decide its end. Later samples cannot change it."""
        return (self.min_silence_duration_ms + self.speech_pad_ms) * SAMPLE_RATE // 1000


@dataclass(frozen=True, slots=True)
class SpeechSpan:
    """The samples from `start` up to, but not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def shifted(self, n_samples: int) -> "SpeechSpan":
        return SpeechSpan(self.start + n_samples, self.end + n_samples)


def detect_speech(samples: NDArray[np.float32], options: VadOptions) -> list[SpeechSpan]:
    """Return the spans of speech in `samples` (float32 [n], 16 kHz mono), in order and without overlap."""
    frames = speech_frames(speech_probabilities(samples), options)
    return pad(
        [SpeechSpan(start * FRAME, min(end * FRAME, len(samples))) for start, end in frames], len(samples), options
    )


def speech_frames(probabilities: NDArray[np.float32], options: VadOptions) -> Iterable[tuple[int, int]]:
    """Yield the frames where speech starts and ends.

    Speech starts at the threshold. It ends before a silence of `min_silence_duration_ms`. This is the rule of
    Silero's `get_speech_timestamps`: https://github.com/snakers4/silero-vad
    """
    silence = max(options.threshold - _HYSTERESIS, 0.01)
    shortest = options.min_silence_duration_ms * SAMPLE_RATE / 1000 / FRAME
    start: int | None = None
    quiet_since: int | None = None
    for frame, probability in enumerate(probabilities.tolist()):
        if probability >= options.threshold:
            quiet_since = None
            start = frame if start is None else start
        elif probability < silence and start is not None:
            quiet_since = frame if quiet_since is None else quiet_since
            if frame - quiet_since >= shortest:
                yield start, quiet_since
                start = quiet_since = None
    if start is not None:
        yield start, len(probabilities)


def pad(spans: Sequence[SpeechSpan], n_samples: int, options: VadOptions) -> list[SpeechSpan]:
    """Pad each span on both sides. Spans that would overlap meet in the middle of the pause between them."""
    margin = options.speech_pad_ms * SAMPLE_RATE // 1000
    padded = []
    for at, span in enumerate(spans):
        before = span.start - spans[at - 1].end if at else 2 * span.start
        after = spans[at + 1].start - span.end if at + 1 < len(spans) else 2 * (n_samples - span.end)
        padded.append(SpeechSpan(span.start - min(margin, before // 2), span.end + min(margin, after // 2)))
    return padded
