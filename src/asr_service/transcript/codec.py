"""The lossless JSON form of a Transcript or of one Segment, for storage and for other processes.

The formats of `asr_service.formats` are for users: they round numbers and leave fields out. This form keeps everything.
It is one JSON object, `{"version": 1, "transcript": {...}}`, in which the transcript's fields have the names of the
dataclasses. A single Segment has the key `segment` instead. JSON has no number for NaN and infinity; they are the
strings "NaN", "Infinity" and "-Infinity". Bytes are base64 in the URL-safe alphabet.

A change of the fields of Transcript needs a new version, unless the field is left out while it has its default. Such
fields are `peaks`, `warning_details` and a segment's `speaker`: earlier programs read transcripts without them, and
this one reads theirs.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from asr_service.transcript.types import Segment, Transcript


class TranscriptUnreadable(ValueError):
    """The data is not a transcript in a version that this program can read."""


class _Envelope(BaseModel):
    model_config = ConfigDict(
        extra="forbid", ser_json_inf_nan="strings", ser_json_bytes="base64", val_json_bytes="base64"
    )

    version: Literal[1]
    transcript: Transcript


class _SegmentEnvelope(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    version: Literal[1]
    segment: Segment


def encode(transcript: Transcript) -> str:
    """Write a transcript as JSON."""
    absent: dict[str, Any] = {}
    if transcript.peaks is None:
        absent["peaks"] = True
    if not transcript.warning_details:
        absent["warning_details"] = True
    if all(segment.speaker is None for segment in transcript.segments):
        absent["segments"] = {"__all__": {"speaker"}}
    return _Envelope(version=1, transcript=transcript).model_dump_json(exclude={"transcript": absent})


def decode(data: str | bytes) -> Transcript:
    """Read a transcript back. The result is equal to the one that was encoded.

    Raises TranscriptUnreadable: the version is unknown, or a field is missing, unknown or of the wrong type.
    """
    try:
        return _Envelope.model_validate_json(data).transcript
    except ValidationError as error:
        raise TranscriptUnreadable(_reason(error)) from error


def encode_segment(segment: Segment) -> str:
    """Write a segment as JSON on one line."""
    absent = {"segment": {"speaker"}} if segment.speaker is None else None
    return _SegmentEnvelope(version=1, segment=segment).model_dump_json(exclude=absent)


def decode_segment(data: str | bytes) -> Segment:
    """Read a segment back. Raises TranscriptUnreadable as `decode` does."""
    try:
        return _SegmentEnvelope.model_validate_json(data).segment
    except ValidationError as error:
        raise TranscriptUnreadable(_reason(error)) from error


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["loc"] == ("version",) and first["type"] != "missing":
        return f"Transcript version {first['input']!r} is not supported. This program reads version 1."
    if first["loc"]:
        return f"The data is not a transcript: the field {'.'.join(map(str, first['loc']))!r} is missing or not valid."
    return "The data is not a transcript: it is not a JSON object."
