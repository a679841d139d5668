"""Parses the events that a client sends."""

import difflib
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json

from asr_service.api.openai.realtime.schemas import (
    MAX_EVENT_ID_CHARS,
    Append,
    Clear,
    ClientEvent,
    Commit,
    SessionUpdate,
)
from asr_service.errors import InvalidParameter, MalformedRequest
from asr_service.validation import check_fields

_FORMS: Final[Mapping[str, type[ClientEvent]]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": Append,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
}
_OF_CONVERSATIONS: Final = ("response.", "conversation.", "output_audio_buffer.")
_BETA: Final = "transcription_session.update"
_MAX_NAME_CHARS: Final = 64
_MAX_VALUES: Final = 20_000
"""A session's configuration has less than a thousand, and base64 has none of the characters that are counted."""


def parse_json(text: str | None) -> dict[str, Any]:
    """Return the fields of a message. Raises MalformedRequest: it is not a JSON object in a text message."""
    if text is None:
        raise MalformedRequest("An event is a text message with a JSON object, not a binary message.")
    if sum(map(text.count, ",[{")) > _MAX_VALUES:  # a million would block the slot for a second
        raise MalformedRequest(f"The event has more than {_MAX_VALUES} values, which is the limit.")
    try:
        fields = from_json(text)
    except ValueError:
        raise MalformedRequest("The message is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise MalformedRequest("An event is a JSON object.")
    return fields


def event_id_of(fields: Mapping[str, Any]) -> str | None:
    """Return the client's own id of the event, if it has a valid one."""
    event_id = fields.get("event_id")
    return event_id if isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID_CHARS else None


def read_event(fields: Mapping[str, Any]) -> ClientEvent:
    """Check the fields of an event. Raises InvalidParameter, MalformedRequest: what is wrong with them."""
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise MalformedRequest("Field 'type' is required, and is text.", param="type")
    form = _FORMS.get(kind)
    if form is None:
        raise InvalidParameter(_unknown(kind), param="type")
    return check_fields(form, fields)


def _unknown(kind: str) -> str:
    name = kind[:_MAX_NAME_CHARS]
    if kind == _BETA:
        return (
            f"{name} belongs to the beta of the Realtime API, which is not supported. Use the form of the general "
            "availability: session.update with session.type=transcription."
        )
    if kind.startswith(_OF_CONVERSATIONS):
        return f"Event {name!r} is not supported: this is a transcription session, without a conversation."
    near = difflib.get_close_matches(name, _FORMS, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Known events: {', '.join(_FORMS)}."
    return f"Unknown event {name!r}. {hint}"
