"""The OpenAPI documentation of routes that parse their request bodies themselves."""

from collections.abc import Iterable
from typing import Any

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel

from asr_service.api.cache_header import HEADER
from asr_service.api.native.schemas import (
    DetectionResponse,
    DetectParameters,
    ErrorResponse,
    FormatParameters,
    TranscribeParameters,
    TranscriptResponse,
)
from asr_service.api.native.transcript_body import TranscriptBody
from asr_service.api.openai.schemas import OpenAITranscription, OpenAIVerboseTranscription
from asr_service.api.problems import MEANINGS
from asr_service.formats import FORMATS, TEXT_FORMATS, Format
from asr_service.results.cache import CacheOutcome

DOCUMENTED_KEYS = (
    Security(HTTPBearer(auto_error=False, description="An API key, if the service requires one.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key, in another header.")),
)
"""Dependencies that document a required key. `api.middleware.authentication` checks the key."""


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document these error statuses."""
    return {status: {"model": ErrorResponse, "description": MEANINGS[status]} for status in statuses}


def transcribe_documentation(summary: str, name: str) -> dict[str, Any]:
    """Return the keyword arguments of a route that transcribes a recording with TranscribeParameters."""
    fields = without_null(TranscribeParameters)
    return {
        "summary": summary,
        "operation_id": name,
        "response_model": TranscriptResponse | OpenAIVerboseTranscription,
        "responses": {
            200: transcripts(FORMATS.values()) | {"headers": _CACHE_HEADER},
            **error_responses(400, 401, 408, 409, 413, 415, 422, 429, 500, 503, 504),
        },
        "openapi_extra": recording_body(fields, IDEMPOTENCY, CACHE_CONTROL),
    }


def detection_documentation() -> dict[str, Any]:
    """Return the keyword arguments of the route that detects the language of a recording."""
    return {
        "summary": "Detect the language of the first speech",
        "operation_id": "detect_language",
        "response_model": DetectionResponse,
        "responses": error_responses(400, 401, 408, 413, 415, 422, 429, 500, 503, 504),
        "openapi_extra": recording_body(without_null(DetectParameters)),
    }


def format_documentation() -> dict[str, Any]:
    """Return the keyword arguments of the route that writes a given transcript in another format."""
    schema = TranscriptBody.model_json_schema()
    return {
        "summary": "Write a transcript in another format",
        "description": "The body is the JSON of /transcribe, which may have been edited. Subtitles get the same "
        "layout as at /transcribe.",
        "operation_id": "format_transcript",
        "responses": {
            200: transcripts(TEXT_FORMATS.values()),
            **error_responses(400, 401, 408, 413, 422, 429, 503),
        },
        "openapi_extra": {
            "parameters": query_parameters(FormatParameters),
            "requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(schema, schema)}}},
        },
    }


def _inlined(part: Any, root: dict[str, Any]) -> Any:
    """Return a schema with its definitions in the places of the references to them."""
    if isinstance(part, list):
        return [_inlined(each, root) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(root["$defs"][part["$ref"].removeprefix("#/$defs/")], root)
    return {name: _inlined(value, root) for name, value in part.items() if name != "$defs"}


def query_parameters(form: type[BaseModel], *, no_default: str = "") -> list[dict[str, Any]]:
    """Document the fields of a form as parameters of the query, one of them without its default."""
    fields, parameters = without_null(form), []
    for name, field in fields["properties"].items():
        schema = {key: value for key, value in field.items() if key != "description"}
        if name == no_default:
            schema.pop("default", None)
        is_required = name in fields.get("required", ())
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": is_required,
                "schema": schema,
                "description": field["description"],
            }
        )
    return parameters


def recording_body(fields: dict[str, Any], *headers: dict[str, Any]) -> dict[str, Any]:
    """Document a recording in a form with fields, or as the body.

    The fields of a raw body are in the query. They are described in words only: a page that shows the query's fields
    next to the form's would offer each option twice.
    """
    return {
        "description": _TWO_WAYS,
        "parameters": list(headers),
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _with_file(fields)},
                "audio/*": {"schema": _RECORDING},
                "application/octet-stream": {"schema": _RECORDING},
            },
        },
    }


def openai_documentation(summary: str, name: str, form: type[BaseModel], formats: Iterable[Format]) -> dict[str, Any]:
    """Return the keyword arguments of a route that takes a form as OpenAI's clients send it."""
    return {
        "summary": summary,
        "operation_id": name,
        "response_model": OpenAITranscription | OpenAIVerboseTranscription,
        "responses": {
            200: transcripts(formats) | {"headers": _CACHE_HEADER},
            **error_responses(400, 401, 404, 408, 409, 413, 429, 500, 503, 504),
        },
        "description": "The fields of OpenAI's API and the options of /transcribe. docs/api.md says what becomes of "
        "the fields that other implementations have.",
        "openapi_extra": {
            "parameters": [IDEMPOTENCY, CACHE_CONTROL],
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": {"schema": _with_file(without_null(form))}},
            },
        },
    }


_TWO_WAYS = (
    "The recording is the file of a form, whose other fields are the options, or it is the body itself, with "
    "a Content-Type of `audio/*`, `video/*` or `application/octet-stream`. The options of a raw body are in the query: "
    "they have the names and values of the form's fields."
)
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "description": "A repeated request with the same key, recording and fields gets the same response. Not supported "
    "for streaming responses.",
}
CACHE_CONTROL = {
    "name": "Cache-Control",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "If the service has a cache of results: `no-cache` asks for a new transcript, `no-store` that it is "
    "not stored.",
}
_CACHE_HEADER = {
    HEADER: {
        "description": "If the service has a cache of results: `hit` if the transcript was stored, `miss` if it was "
        "not, `bypass` if the request asked for a new one",
        "schema": {"type": "string", "enum": [outcome.value for outcome in CacheOutcome]},
    }
}
_RECORDING = {
    "type": "string",
    "format": "binary",
    "description": "The recording: an audio file, or a video file with sound.",
}


def without_null(form: type[BaseModel]) -> dict[str, Any]:
    """Return a form's schema. A field of a form or query can be left out, but it cannot be null."""
    schema = form.model_json_schema()
    return schema | {"properties": {name: _never_null(field) for name, field in schema["properties"].items()}}


def _never_null(field: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    kept = {key: value for key, value in field.items() if key != "anyOf" and (key, value) != ("default", None)}
    return kept | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _with_file(fields: dict[str, Any]) -> dict[str, Any]:
    required = ["file", *fields.get("required", [])]
    properties = {"file": _RECORDING, **fields["properties"]}
    first = {name: properties[name] for name in required}
    return fields | {"properties": first | properties, "required": required}


def transcripts(formats: Iterable[Format], *, json: bool = False) -> dict[str, Any]:
    """Document the media types of a transcript, without JSON if the response model documents that."""
    types = dict.fromkeys(fmt.media_type.split(";", maxsplit=1)[0] for fmt in formats)
    return {
        "description": "The transcript in the requested format",
        "content": {media_type: {} for media_type in types if json or media_type != "application/json"},
    }
