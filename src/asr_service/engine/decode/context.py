"""How much speech a window holds, and how much sound the encoder gets for it: a margin more, where that costs no
accuracy.

Why, and what guards it: docs/adr/0003-short-encoder-context.md.
"""

import math
from dataclasses import dataclass

from asr_service.audio.features import FRAMES_PER_SECOND, FULL_CONTEXT
from asr_service.engine.options import DecodingOptions

_FLOOR_S = 8.0
_STEP_FRAMES = 64
"""Contexts are whole steps: windows of like length share batches, and matrices whose side is a multiple of 16 are up to
a sixth faster. Coarser steps cost the encoder more, whose time grows with the square."""
LONGEST_SHORT = FULL_CONTEXT // 32 * 32
"""29.76 s. The sides of the encoder's matrices are half as many positions, and the 1500 of 30 s no multiple of 16."""


@dataclass(frozen=True, slots=True)
class ChunkLengths:
    """The most speech in one window, in seconds."""

    lone_s: float
    """Of a recording of less than a minute that needs no other."""
    several_s: float
    """Of one that needs several."""


_LONGEST = ChunkLengths(30.0, 30.0)
_SHORT = ChunkLengths(30.0, 15.0)
"""The encoder's time grows with the square of the window, a token's with the window: of shorter ones a long recording
takes less of both. With the margin on each, and with what cutting in pauses leaves empty, little is gained below 15 s,
and accuracy is lost."""
_MOST_MARGIN_S = _SHORT.several_s / 2
"""With a longer one, shorter windows save nothing."""


def chunk_lengths(options: DecodingOptions, margin_s: float | None, at_most_s: float | None) -> ChunkLengths:
    """How a request's speech is cut; `at_most_s` is the operator's bound.

    Where the language may change, windows are cut where it does: the more of the recording is looked at, the better.
    """
    if at_most_s is not None:
        return ChunkLengths(at_most_s, at_most_s)
    short = margin_s is not None and margin_s <= _MOST_MARGIN_S and may_be_short(options)
    return _SHORT if short and not options.language_per_chunk else _LONGEST


def context_frames(speech_s: float, margin_s: float | None) -> int:
    """Frames that the encoder gets for so much speech; None always gives it 30 s."""
    if margin_s is None or speech_s * FRAMES_PER_SECOND > LONGEST_SHORT:
        return FULL_CONTEXT
    frames = max(speech_s + margin_s, _FLOOR_S) * FRAMES_PER_SECOND
    return min(math.ceil(frames / _STEP_FRAMES) * _STEP_FRAMES, LONGEST_SHORT)


def may_be_short(options: DecodingOptions) -> bool:
    """Whether a short context costs this request no accuracy.

    The guards need timestamps; word alignment and translation are worse for less than 30 s.
    """
    return options.timestamps and not options.word_timestamps and options.task == "transcribe"
