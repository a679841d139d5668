"""JSON: one object, or one object a line while the answer is being found."""

from typing import Any

from asr_service.formats.encoding import PROBABILITY_DIGITS, TIME_DIGITS, dumps, on_one_line, rounded
from asr_service.transcript import Segment, Timing, Transcript, Word


def render_json(transcript: Transcript) -> str:
    fields = _fields(transcript)
    fields["segments"] = [_segment(segment) for segment in transcript.segments]
    return dumps(fields)


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
    return _line(error_object(code, message, kind, param))


def error_object(code: str, message: str, kind: str, param: str | None) -> dict[str, Any]:
    return {"type": "error", "error": {"message": message, "type": kind, "param": param, "code": code}}


def _fields(transcript: Transcript) -> dict[str, Any]:
    return {
        "text": transcript.text,
        "task": transcript.task,
        "language": transcript.language,
        "language_probability": rounded(transcript.language_probability, PROBABILITY_DIGITS),
        "duration": rounded(transcript.duration, TIME_DIGITS),
        "duration_after_vad": rounded(transcript.duration_after_vad, TIME_DIGITS),
        "model": transcript.model,
        "warnings": list(transcript.warnings),
        "timing": _timing(transcript.timing),
    }


def _timing(timing: Timing) -> dict[str, float | None]:
    return {
        "queue_ms": rounded(timing.queue_ms, TIME_DIGITS),
        "decode_ms": rounded(timing.decode_ms, TIME_DIGITS),
        "vad_ms": rounded(timing.vad_ms, TIME_DIGITS),
        "inference_ms": rounded(timing.inference_ms, TIME_DIGITS),
        "total_ms": rounded(timing.total_ms, TIME_DIGITS),
        "realtime_factor": rounded(timing.realtime_factor, PROBABILITY_DIGITS),
    }


def _segment(segment: Segment) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": segment.id,
        "start": rounded(segment.start, TIME_DIGITS),
        "end": rounded(segment.end, TIME_DIGITS),
        "text": segment.text,
        "avg_logprob": rounded(segment.avg_logprob, PROBABILITY_DIGITS),
        "no_speech_prob": rounded(segment.no_speech_prob, PROBABILITY_DIGITS),
        "compression_ratio": rounded(segment.compression_ratio, PROBABILITY_DIGITS),
        "temperature": rounded(segment.temperature, PROBABILITY_DIGITS),
        "language": segment.language,
    }
    if segment.words is not None:
        fields["words"] = [_word(word) for word in segment.words]
    return fields


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": rounded(word.start, TIME_DIGITS),
        "end": rounded(word.end, TIME_DIGITS),
        "probability": rounded(word.probability, PROBABILITY_DIGITS),
    }


def _line(fields: dict[str, Any]) -> str:
    return on_one_line(fields) + "\n"
