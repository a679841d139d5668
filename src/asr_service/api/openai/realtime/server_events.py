"""The events that the service sends, from the events of the engine."""

import math
import secrets
from collections.abc import Collection, Iterator
from typing import Any, Final

from asr_service.api.openai.realtime.schemas import LOGPROBS, SEGMENTS, WORDS
from asr_service.api.problems import status_of
from asr_service.engine.pipeline.live.events import (
    Cleared,
    IdleTimeout,
    LiveEvent,
    SessionEnded,
    TextDelta,
    TurnCommitted,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    TurnStopped,
)
from asr_service.errors import AsrError, error_type
from asr_service.transcript import Transcript, Word

ServerEvent = dict[str, Any]

_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"
_LEAST_PROBABILITY: Final = 1e-10
_DIGITS: Final = 3
"""Decimals of seconds."""


def server_event(kind: str, **fields: Any) -> ServerEvent:
    """Return an event with an id of its own."""
    return {"type": kind, "event_id": f"event_{secrets.token_urlsafe(16)}", **fields}


def error_event(error: AsrError, *, event_id: str | None = None) -> ServerEvent:
    """Return the event for an error. `event_id` is that of the client's event that caused it."""
    return server_event("error", error=_error(error) | {"event_id": event_id})


def events_of(event: LiveEvent, include: Collection[str]) -> Iterator[ServerEvent]:
    """Yield the events for one event of the engine. `include` is that of the session.

    A turn that began before words were included has none, and its event has no field for them.
    """
    match event:
        case TurnStarted():
            yield _of_turn("input_audio_buffer.speech_started", event.turn_id, audio_start_ms=event.audio_start_ms)
        case TurnStopped():
            yield _of_turn("input_audio_buffer.speech_stopped", event.turn_id, audio_end_ms=event.audio_end_ms)
        case TurnCommitted():
            yield from _committed(event)
        case TextDelta():
            yield _of_turn(f"{_TRANSCRIPTION}.delta", event.turn_id, content_index=0, delta=event.text)
        case TurnCompleted():
            yield _completed(event, include)
        case TurnFailed():
            yield _of_turn(f"{_TRANSCRIPTION}.failed", event.turn_id, content_index=0, error=_error(event.error))
        case Cleared():
            yield server_event("input_audio_buffer.cleared")
        case IdleTimeout():
            times = {"audio_start_ms": event.audio_start_ms, "audio_end_ms": event.audio_end_ms}
            yield _of_turn("input_audio_buffer.timeout_triggered", event.turn_id, **times)
        case SessionEnded():
            pass  # the connection closes


def _of_turn(kind: str, turn_id: str, **fields: Any) -> ServerEvent:
    return server_event(kind, item_id=_item_id(turn_id), **fields)


def _item_id(turn_id: str) -> str:
    return f"item_{turn_id}"


def _committed(event: TurnCommitted) -> Iterator[ServerEvent]:
    previous = None if event.previous_turn_id is None else _item_id(event.previous_turn_id)
    item = {
        "id": _item_id(event.turn_id),
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    yield _of_turn("input_audio_buffer.committed", event.turn_id, previous_item_id=previous)
    yield server_event("conversation.item.added", previous_item_id=previous, item=item)
    yield server_event("conversation.item.done", previous_item_id=previous, item=item)


def _completed(event: TurnCompleted, include: Collection[str]) -> ServerEvent:
    transcript = event.transcript
    completed = _of_turn(
        f"{_TRANSCRIPTION}.completed",
        event.turn_id,
        content_index=0,
        transcript=transcript.text,
        languages=[] if transcript.language is None else [{"code": transcript.language}],
        usage={"type": "duration", "seconds": round(event.audio_s, _DIGITS)},
    )
    words = [word for segment in transcript.segments for word in segment.words or ()]
    has_words = all(segment.words is not None for segment in transcript.segments)
    if LOGPROBS in include and has_words:
        completed["logprobs"] = [_logprob(word) for word in words]
    if SEGMENTS in include:
        completed["segments"] = _segments(transcript)
    if WORDS in include and has_words:
        completed["words"] = [{"word": word.word.strip(), **_times(word.start, word.end)} for word in words]
    return completed


def _logprob(word: Word) -> dict[str, Any]:
    """Return a word as OpenAI returns a token. Whisper's tokens are parts of words, and have no probabilities here."""
    logprob = math.log(max(word.probability, _LEAST_PROBABILITY))
    return {"token": word.word, "bytes": list(word.word.encode()), "logprob": round(logprob, 4)}


def _segments(transcript: Transcript) -> list[dict[str, Any]]:
    return [{"text": each.text.strip(), **_times(each.start, each.end)} for each in transcript.segments]


def _times(start_s: float, end_s: float) -> dict[str, float]:
    return {"start": round(start_s, _DIGITS), "end": round(end_s, _DIGITS)}


def _error(error: AsrError) -> dict[str, str | None]:
    return {
        "type": error_type(status_of(error, openai=True)),
        "code": error.code,
        "message": error.message,
        "param": error.param,
    }
