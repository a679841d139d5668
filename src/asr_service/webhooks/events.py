"""The events of jobs, in the shape of OpenAI's webhook events."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    """The type of an event."""

    SUCCEEDED = "transcription.job.succeeded"
    FAILED = "transcription.job.failed"
    CANCELLED = "transcription.job.cancelled"
    TEST = "transcription.test"


@dataclass(frozen=True, slots=True)
class Message:
    """One event for one URL. Every attempt sends the same bytes under the same id."""

    id: str
    url: str
    body: bytes


def build_message(message_id: str, url: str, event: EventType, created_at: int, data: Mapping[str, Any]) -> Message:
    """Build a message. `created_at` is in seconds since the epoch; `data` is JSON with at least the job's `id`."""
    body = {"id": message_id, "object": "event", "created_at": created_at, "type": event, "data": data}
    return Message(message_id, url, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
