"""How much sound the encoder gets for a window: the speech and a margin, where that costs no accuracy.

Why, and what guards it: docs/adr/0003-short-encoder-context.md.
"""

import math

from asr_service.audio.features import FRAMES_PER_SECOND, FULL_CONTEXT
from asr_service.engine.decoding import DecodingOptions

_FLOOR_S = 10.0
_STEP_FRAMES = 64
"""Contexts are whole steps: windows of like length share batches, and matrices whose side is a multiple of 16 are up to
a sixth faster. Coarser steps cost the encoder more, whose time grows with the square."""
LONGEST_SHORT = FULL_CONTEXT // 32 * 32
"""29.76 s. The sides of the encoder's matrices are half as many positions, and the 1500 of 30 s no multiple of 16."""


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
