"""The response formats of OpenAI's audio API: https://platform.openai.com/docs/api-reference/audio."""

import math
from typing import Any

from asr_service.formats.json import PROBABILITY_DIGITS, TIME_DIGITS, dump_line, dumps, error_object
from asr_service.transcript import Segment, Transcript, Word

_FRAMES_PER_S = 100
"""Frames of the log-mel spectrogram, the unit of `seek`."""
_POSITIONS_PER_S = 50
"""Positions that Whisper's encoder outputs for a second of audio. They count as input tokens."""


def render_openai_json(transcript: Transcript) -> str:
    return dumps({"text": transcript.text, "languages": _languages(transcript), "usage": _seconds_used(transcript)})


def render_verbose_json(transcript: Transcript) -> str:
    """Write verbose_json with segments, and with words if the transcript has word times."""
    timed = any(segment.words is not None for segment in transcript.segments)
    return dumps(_verbose(transcript) | (_words(transcript) if timed else {}) | _segments(transcript))


def render_verbose_json_of_words(transcript: Transcript) -> str:
    """Write verbose_json for the granularity `word`: words, without segments."""
    return dumps(_verbose(transcript) | _words(transcript))


def render_verbose_json_with_words(transcript: Transcript) -> str:
    """Write verbose_json for the granularities `word` and `segment`: both."""
    return dumps(_verbose(transcript) | _words(transcript) | _segments(transcript))


def render_events(transcript: Transcript) -> str:
    return "".join(map(delta_event, transcript.segments)) + done_event(transcript)


def delta_event(segment: Segment) -> str:
    """Write a segment's text as an event. All deltas together are the whole text."""
    text = segment.text if segment.id else segment.text.lstrip()
    return _event({"type": "transcript.text.delta", "delta": text})


def done_event(transcript: Transcript) -> str:
    fields = {"text": transcript.text, "languages": _languages(transcript), "usage": _tokens_used(transcript)}
    return _event({"type": "transcript.text.done", **fields})


def error_event(code: str, message: str, *, status: int = 500, param: str | None = None) -> str:
    return _event(error_object(code, message, status, param))


def _event(fields: dict[str, Any]) -> str:
    return f"data: {dump_line(fields)}\n\n"


def _verbose(transcript: Transcript) -> dict[str, Any]:
    return {
        "task": transcript.task,
        # This is the language of the text: a translation is English, whatever language was spoken.
        "language": "english" if transcript.task == "translate" else transcript.language_name or "unknown",
        "duration": round(transcript.duration, TIME_DIGITS),
        "text": transcript.text,
        "languages": _languages(transcript),
        "usage": _seconds_used(transcript),
    }


def _languages(transcript: Transcript) -> list[dict[str, str]]:
    """Return the languages spoken, in the order of their first segments; none without speech."""
    return [{"code": code} for code in dict.fromkeys(segment.language for segment in transcript.segments)]


def _words(transcript: Transcript) -> dict[str, Any]:
    return {"words": [_word(word) for segment in transcript.segments for word in segment.words or ()]}


def _segments(transcript: Transcript) -> dict[str, Any]:
    return {"segments": [_segment(segment) for segment in transcript.segments]}


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.id,
        "seek": round(segment.window_start * _FRAMES_PER_S),
        "start": round(segment.start, TIME_DIGITS),
        "end": round(segment.end, TIME_DIGITS),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": _number(segment.avg_logprob),
        "compression_ratio": _number(segment.compression_ratio),
        "no_speech_prob": _number(segment.no_speech_prob),
    }


def _word(word: Word) -> dict[str, Any]:
    return {"word": word.word.strip(), "start": round(word.start, TIME_DIGITS), "end": round(word.end, TIME_DIGITS)}


def _number(value: float) -> float:
    """Round, with 0 for infinity and NaN. OpenAI's schema has no null here, so a strict client would fail on one."""
    return round(value, PROBABILITY_DIGITS) if math.isfinite(value) else 0.0


def _seconds_used(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(transcript.duration, TIME_DIGITS)}


def _tokens_used(transcript: Transcript) -> dict[str, Any]:
    """Return the usage of a stream, which OpenAI counts in tokens and not in seconds."""
    n_input = round(transcript.duration_after_vad * _POSITIONS_PER_S)
    n_output = sum(len(segment.tokens) for segment in transcript.segments)
    return {"type": "tokens", "input_tokens": n_input, "output_tokens": n_output, "total_tokens": n_input + n_output}
