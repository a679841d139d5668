"""JSON: one object, or one object a line while the answer is being found."""

import json
import math
from typing import Any

from asr_service.transcript import Segment, Timing, Transcript, Word

_TIME_DIGITS = 3
_PROBABILITY_DIGITS = 4

# Within JSON these are plain characters, but many readers of lines (str.splitlines among them) end a line at them.
_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def render_json(transcript: Transcript) -> str:
    fields = _fields(transcript)
    fields["segments"] = [_segment(segment) for segment in transcript.segments]
    return _dumps(fields)


def render_ndjson(transcript: Transcript) -> str:
    return "".join(map(segment_line, transcript.segments)) + closing_line(transcript)


def segment_line(segment: Segment) -> str:
    return _line({"type": "segment"} | _segment(segment))


def closing_line(transcript: Transcript) -> str:
    """Everything that `render_json` tells, save the segments, which went before."""
    return _line({"type": "transcript"} | _fields(transcript))


def error_line(code: str, message: str, *, kind: str = "server_error", param: str | None = None) -> str:
    """Close an answer that failed after it had begun, when its status could no longer say so.

    The error has the shape of every other failure's body.
    """
    return _line({"type": "error", "error": {"message": message, "type": kind, "param": param, "code": code}})


def _fields(transcript: Transcript) -> dict[str, Any]:
    return {
        "text": transcript.text,
        "task": transcript.task,
        "language": transcript.language,
        "language_probability": _rounded(transcript.language_probability, _PROBABILITY_DIGITS),
        "duration": _rounded(transcript.duration, _TIME_DIGITS),
        "duration_after_vad": _rounded(transcript.duration_after_vad, _TIME_DIGITS),
        "model": transcript.model,
        "warnings": list(transcript.warnings),
        "timing": _timing(transcript.timing),
    }


def _timing(timing: Timing) -> dict[str, float | None]:
    return {
        "queue_ms": _rounded(timing.queue_ms, _TIME_DIGITS),
        "decode_ms": _rounded(timing.decode_ms, _TIME_DIGITS),
        "vad_ms": _rounded(timing.vad_ms, _TIME_DIGITS),
        "inference_ms": _rounded(timing.inference_ms, _TIME_DIGITS),
        "total_ms": _rounded(timing.total_ms, _TIME_DIGITS),
        "realtime_factor": _rounded(timing.realtime_factor, _PROBABILITY_DIGITS),
    }


def _segment(segment: Segment) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": segment.id,
        "start": _rounded(segment.start, _TIME_DIGITS),
        "end": _rounded(segment.end, _TIME_DIGITS),
        "text": segment.text,
        "avg_logprob": _rounded(segment.avg_logprob, _PROBABILITY_DIGITS),
        "no_speech_prob": _rounded(segment.no_speech_prob, _PROBABILITY_DIGITS),
        "compression_ratio": _rounded(segment.compression_ratio, _PROBABILITY_DIGITS),
        "temperature": _rounded(segment.temperature, _PROBABILITY_DIGITS),
    }
    if segment.words is not None:
        fields["words"] = [_word(word) for word in segment.words]
    return fields


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": _rounded(word.start, _TIME_DIGITS),
        "end": _rounded(word.end, _TIME_DIGITS),
        "probability": _rounded(word.probability, _PROBABILITY_DIGITS),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    # JSON has no infinity and no NaN, and a model in half precision can give both: null, then, rather than no answer.
    return round(value, digits) if value is not None and math.isfinite(value) else None


def _dumps(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _line(fields: dict[str, Any]) -> str:
    return _dumps(fields).translate(_LINE_ENDS) + "\n"
