"""The service's own JSON: one object, or one object a line (NDJSON)."""

import json
import math
from base64 import b64encode
from dataclasses import replace
from typing import Any, TypeVar

from asr_service.errors import error_body
from asr_service.transcript import Peaks, Segment, Timing, Transcript, Word

Timed = TypeVar("Timed", Segment, Word)

TIME_DIGITS = 3
PROBABILITY_DIGITS = 4

# JSON allows these characters, but many readers of lines (str.splitlines among them) end a line at them.
_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def dumps(fields: dict[str, Any]) -> str:
    """Write JSON without spaces, which may contain any Unicode character."""
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dump_line(fields: dict[str, Any]) -> str:
    """Write JSON that no reader of lines splits, without a line end."""
    return dumps(fields).translate(_LINE_ENDS)


def render_json(transcript: Transcript) -> str:
    fields = _fields(transcript)
    fields["segments"] = [_segment(segment) for segment in transcript.segments]
    return dumps(fields)


def render_ndjson(transcript: Transcript) -> str:
    return "".join(map(segment_line, transcript.segments)) + closing_line(transcript)


def segment_line(segment: Segment) -> str:
    return _line({"type": "segment"} | _segment(segment))


def closing_line(transcript: Transcript) -> str:
    """Write every field of `render_json` but the segments, which were sent before."""
    return _line({"type": "transcript"} | _fields(transcript))


def error_line(code: str, message: str, *, status: int = 500, param: str | None = None) -> str:
    """Write the last line of a stream that failed after its status was sent.

    The error has the shape of every other error body. `status` is the one that the error would have had.
    """
    return _line(error_object(code, message, status, param))


def error_object(code: str, message: str, status: int, param: str | None) -> dict[str, Any]:
    """Return the error as an object in a stream."""
    return {"type": "error"} | error_body(status, message, code, param)


def with_rounded_times(transcript: Transcript) -> Transcript:
    """Round the times of segments and words as the JSON formats do.

    Subtitles made from the result are the same as subtitles made from a transcript that was received as JSON.
    """
    return replace(transcript, segments=tuple(map(_with_rounded_times, transcript.segments)))


def _with_rounded_times(segment: Segment) -> Segment:
    words = segment.words and tuple(map(_with_rounded_time, segment.words))
    return replace(_with_rounded_time(segment), words=words)


def _with_rounded_time(timed: Timed) -> Timed:
    return replace(timed, start=round(timed.start, TIME_DIGITS), end=round(timed.end, TIME_DIGITS))


def _fields(transcript: Transcript) -> dict[str, Any]:
    fields = {
        "text": transcript.text,
        "task": transcript.task,
        "language": transcript.language,
        "language_probability": _rounded(transcript.language_probability, PROBABILITY_DIGITS),
        "duration": _rounded(transcript.duration, TIME_DIGITS),
        "duration_after_vad": _rounded(transcript.duration_after_vad, TIME_DIGITS),
        "model": transcript.model,
        "warnings": list(transcript.warnings),
        "warning_details": [{"code": each.code, "values": dict(each.values)} for each in transcript.warning_details],
        "timing": _timing(transcript.timing),
    }
    return fields if transcript.peaks is None else fields | {"peaks": _peaks(transcript.peaks)}


def _peaks(peaks: Peaks) -> dict[str, Any]:
    return {"per_second": peaks.per_second, "data": b64encode(peaks.values).decode("ascii")}


def _timing(timing: Timing) -> dict[str, float | None]:
    return {
        "queue_ms": _rounded(timing.queue_ms, TIME_DIGITS),
        "decode_ms": _rounded(timing.decode_ms, TIME_DIGITS),
        "vad_ms": _rounded(timing.vad_ms, TIME_DIGITS),
        "inference_ms": _rounded(timing.inference_ms, TIME_DIGITS),
        "total_ms": _rounded(timing.total_ms, TIME_DIGITS),
        "realtime_factor": _rounded(timing.realtime_factor, PROBABILITY_DIGITS),
    }


def _segment(segment: Segment) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": segment.id,
        "start": _rounded(segment.start, TIME_DIGITS),
        "end": _rounded(segment.end, TIME_DIGITS),
        "text": segment.text,
        "avg_logprob": _rounded(segment.avg_logprob, PROBABILITY_DIGITS),
        "no_speech_prob": _rounded(segment.no_speech_prob, PROBABILITY_DIGITS),
        "compression_ratio": _rounded(segment.compression_ratio, PROBABILITY_DIGITS),
        "temperature": _rounded(segment.temperature, PROBABILITY_DIGITS),
        "language": segment.language,
    }
    if segment.words is not None:
        fields["words"] = [_word(word) for word in segment.words]
    return fields


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": _rounded(word.start, TIME_DIGITS),
        "end": _rounded(word.end, TIME_DIGITS),
        "probability": _rounded(word.probability, PROBABILITY_DIGITS),
    }


def _line(fields: dict[str, Any]) -> str:
    return dump_line(fields) + "\n"


def _rounded(value: float | None, digits: int) -> float | None:
    """Round, with null for infinity and NaN: JSON has neither, and a half-precision model can return both."""
    return round(value, digits) if value is not None and math.isfinite(value) else None
