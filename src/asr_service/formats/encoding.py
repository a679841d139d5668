"""JSON as every format here writes it."""

import json
import math
from dataclasses import replace
from typing import Any, TypeVar

from asr_service.transcript import Segment, Transcript, Word

Timed = TypeVar("Timed", Segment, Word)

TIME_DIGITS = 3
PROBABILITY_DIGITS = 4

# Within JSON these are plain characters, but many readers of lines (str.splitlines among them) end a line at them.
_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def rounded(value: float | None, digits: int) -> float | None:
    # JSON has no infinity and no NaN, and a model in half precision can give both: null, then, rather than no answer.
    return round(value, digits) if value is not None and math.isfinite(value) else None


def dumps(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def on_one_line(fields: dict[str, Any]) -> str:
    """Like `dumps`, for readers of lines; without the line's end."""
    return dumps(fields).translate(_LINE_ENDS)


def with_rounded_times(transcript: Transcript) -> Transcript:
    """Round the times of segments and words as JSON answers do.

    Subtitles that are made of the result are the same as those made of a transcript that came as JSON.
    """
    return replace(transcript, segments=tuple(map(_with_rounded_times, transcript.segments)))


def _with_rounded_times(segment: Segment) -> Segment:
    words = segment.words and tuple(map(_rounded, segment.words))
    return replace(_rounded(segment), words=words)


def _rounded(timed: Timed) -> Timed:
    return replace(timed, start=round(timed.start, TIME_DIGITS), end=round(timed.end, TIME_DIGITS))
