"""A turn of a session, and the windows of sound that it is decoded in."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio.chunking import Chunk, cut_chunk
from asr_service.audio.silero import FRAME
from asr_service.audio.vad import SpeechSpan, VadOptions, pad, speech_frames
from asr_service.engine.decode.text_before import TextBefore
from asr_service.engine.pipeline.live.agreement import SentText
from asr_service.engine.pipeline.live.events import TextDelta
from asr_service.engine.pipeline.live.options import LiveOptions
from asr_service.errors import AsrError
from asr_service.transcript import Segment

MIN_DETECTION_S: Final = 2.0
"""From less sound, the language is not detected if a turn before has one: a `yes` may be any language."""


@dataclass(slots=True, eq=False)
class Turn:
    """What somebody said between two silences or two commits. Positions are samples of the session."""

    id: str
    start: int
    options: LiveOptions
    is_announced: bool
    """True if voice activity detection opened the turn."""
    language: tuple[str, float] | None = None
    """Code and probability, when a window of the turn is decoded."""
    segments: list[Segment] = field(default_factory=list)
    """Of the windows that are decoded."""
    speech_s: float = 0.0
    has_text: bool = False
    """True if text of the turn was sent."""
    error: AsrError | None = None
    """Why a window of the turn could not be decoded."""

    @property
    def vad(self) -> VadOptions:
        """The options by which the silence in the turn is left out."""
        vad = self.options.decoding.vad
        detection = self.options.turn_detection
        return vad if detection is None else replace(vad, threshold=detection.threshold)

    def next_delta(self, text: str) -> TextDelta:
        """Return the event with the text that follows the sent text. The first text of a turn has no leading space."""
        delta = TextDelta(self.id, text if self.has_text else text.lstrip())
        self.has_text = True
        return delta


@dataclass(frozen=True, slots=True)
class EarlyText:
    """The final text of a window, decoded in a pause, in case that the speech does not go on."""

    task: "asyncio.Task[DecodedWindow]"
    speech_end: int


@dataclass(slots=True, eq=False)
class Window:
    """Sound of one turn that is decoded as a whole. It grows until the turn ends or it is long enough."""

    turn: Turn
    start: int
    previous: "Window | None" = None
    """The window that this one continues without a pause. Its text is part of the prompt."""
    earlier: "Window | None" = None
    """The window before this one in the same turn. Its text is sent first."""
    sent: SentText = field(default_factory=SentText)
    decoded_until: int = field(init=False)
    """End of the sound that the last hypothesis had. At first it is the start of the window."""
    language: str | None = None
    """As the first hypothesis detected it."""
    early: EarlyText | None = None
    is_open: bool = True
    tokens: asyncio.Future[TextBefore] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future(), repr=False
    )
    """The final text, for the prompt of the window that continues this one."""

    def __post_init__(self) -> None:
        self.decoded_until = self.start


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """A window whose sound is complete, in the queue of those to be decoded."""

    window: Window
    chunk: Chunk | None
    """Its speech; None if it has none."""
    end: int
    speech_end: int
    is_last: bool
    """True if the turn ends with it."""

    @property
    def n_samples(self) -> int:
        return self.end - self.window.start


@dataclass(frozen=True, slots=True)
class DecodedWindow:
    """The decoded segments of one window."""

    segments: tuple[Segment, ...]
    language: tuple[str, float] | None
    queued_s: float
    inference_s: float
    was_urgent: bool = False
    """True if the model decoded it before the windows of recordings."""


def cut_speech(
    samples: NDArray[np.float32], start: int, probabilities: Sequence[float], vad: VadOptions, *, is_part: bool = False
) -> Chunk | None:
    """Return the speech of a window whose first sample has the position `start`; None if there is none.

    `probabilities` has the probability of speech of each frame of the samples. The last frame may be missing.
    `is_part` says that the window continues another one. With the text before it in the prompt, the model may leave
    speech out at its end, which is then decoded as the next window of a recording is.
    """
    frames = speech_frames(np.asarray(probabilities, np.float32), vad)
    n_samples = len(samples)
    spans = [SpeechSpan(first * FRAME, min(last * FRAME, n_samples)) for first, last in frames]
    spans = pad([span for span in spans if len(span)], n_samples, vad)
    return cut_chunk(samples, tuple(spans), start, is_part=is_part) if spans else None
