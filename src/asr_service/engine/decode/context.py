"""How much speech a window holds, and how many frames the encoder gets for it.

A short context holds the speech and a margin of sound after it, where that costs no accuracy. The measurements and the
checks that guard it: docs/adr/0003-short-encoder-context.md.
"""

import math
from dataclasses import dataclass
from typing import Final

from asr_service.audio.features import FRAMES_PER_SECOND, FULL_CONTEXT
from asr_service.engine.options import DecodingOptions

_MIN_CONTEXT_S: Final = 10.0
_STEP_FRAMES: Final = 64
"""Contexts are multiples of this. Then windows of similar length share batches, and the sides of the encoder's matrices
are multiples of 16, which is up to a sixth faster. Larger steps cost more, since the encoder's time grows with the
square of the context."""
MAX_SHORT_CONTEXT: Final = FULL_CONTEXT // 32 * 32
"""The longest context below the full one: 2976 frames, 29.76 s. The sides of the encoder's matrices are half as many
positions; the 1500 of 30 s are not a multiple of 16."""

LONGER_CONTEXT: Final = 2048
"""The context of a doubtful window's second attempt, in frames: 20.48 s. 30 s are no more accurate and cost twice as
much."""


@dataclass(frozen=True, slots=True)
class ChunkLengths:
    """The most speech in one window, in seconds."""

    single_window_s: float
    """For a recording of less than a minute that fits into one window."""
    multi_window_s: float
    """For a recording that needs several windows."""
    section_s: float
    """The most speech in one section of such a recording. The windows of a section are decoded one after the other,
    each with the text before it in the prompt. Sections are decoded side by side."""


_LONG_WINDOW_S: Final = 30.0
_SHORT_WINDOW_S: Final = 22.0
"""The longest window of a short context, if a recording needs several. The encoder's time grows with the square of the
window, and the time of each token with the window, so short windows take less of both. Windows below 22 s take as much
in all, because each has its margin, and more of their words are wrong."""
_SECTION_S: Final = 60.0
"""Within a section most sentences are whole and their spelling is constant. A request has many sections, so windows of
several of them are decoded at a time."""
_PART_MARGIN_S: Final = 2.5
"""The longest margin in a recording with several windows. A window of 10 to 18 s had enough speech: with 6 s, as many
words were wrong."""
_MAX_MARGIN_S: Final = _SHORT_WINDOW_S / 2
"""With a longer margin, shorter windows save nothing."""


def chunk_lengths(options: DecodingOptions, margin_s: float | None, max_chunk_s: float | None) -> ChunkLengths:
    """Return how long the chunks of a request's speech may be.

    `margin_s` is the margin of a short context, None if contexts are full. `max_chunk_s` is the operator's limit.
    A request that detects the language of each window gets long windows, because detection needs much speech. So does a
    translation: short windows of it fail the checks so often that they cost more. Neither has sections, nor has a
    request without timestamps: the text that a section's next window continues is found by its timestamps.
    """
    if max_chunk_s is not None:
        return ChunkLengths(max_chunk_s, max_chunk_s, max_chunk_s)
    if options.task == "translate" or options.language_per_chunk or not options.timestamps:
        return ChunkLengths(_LONG_WINDOW_S, _LONG_WINDOW_S, _LONG_WINDOW_S)
    is_short = margin_s is not None and margin_s <= _MAX_MARGIN_S
    return ChunkLengths(_LONG_WINDOW_S, _SHORT_WINDOW_S if is_short else _LONG_WINDOW_S, _SECTION_S)


def context_frames(speech_s: float, margin_s: float | None, *, is_part: bool = False) -> int:
    """Return how many frames the encoder gets for `speech_s` seconds of speech; without a margin always 30 s.

    `is_part` says that the recording has several windows.
    """
    if margin_s is None or speech_s * FRAMES_PER_SECOND > MAX_SHORT_CONTEXT:
        return FULL_CONTEXT
    margin_s = min(margin_s, _PART_MARGIN_S) if is_part else margin_s
    frames = max(speech_s + margin_s, _MIN_CONTEXT_S) * FRAMES_PER_SECOND
    return min(math.ceil(frames / _STEP_FRAMES) * _STEP_FRAMES, MAX_SHORT_CONTEXT)


def allows_short_context(options: DecodingOptions) -> bool:
    """Return True if a short context costs this request no accuracy.

    The checks that guard a short context need timestamps. Words are aligned as well with a short context as with 30 s.
    """
    return options.timestamps
