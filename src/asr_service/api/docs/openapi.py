"""What OpenAPI says of the addresses that read their bodies themselves, and the page that shows it."""

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Security
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel
from starlette.responses import FileResponse, HTMLResponse
from starlette.types import Receive, Scope, Send

from asr_service.api.native.schemas import (
    DetectionAnswer,
    DetectParameters,
    ErrorAnswer,
    TranscribeParameters,
    TranscriptAnswer,
)
from asr_service.api.openai.schemas import OpenAIAnswer, VerboseAnswer
from asr_service.api.problems import MEANINGS
from asr_service.formats import FORMATS, Format

pages = APIRouter(include_in_schema=False)

DOCUMENTED_KEYS = (
    Security(HTTPBearer(auto_error=False, description="An API key, where the service asks for one.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, description="The same in another header.")),
)
"""Dependencies of a route that needs a key. They only document it: `api.middleware.authentication` checks it."""

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}


@pages.get("/docs")
async def docs() -> HTMLResponse:
    """The interactive page, from files in this package's dependencies: it needs no outside network."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="asr-service",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # else it would show the document to a validator on the internet
    )
    page.headers["content-security-policy"] = _policy(bytes(page.body))
    return page


def _policy(page: bytes) -> str:
    """Let the page run the one script that stands in it, and what is served beside it; its script writes styles."""
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class _WholeFile(FileResponse):
    """Small files, never in parts: Starlette's answers to a wrong range have not the shape of this service's errors."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def _serve_asset(name: str, media_type: str) -> None:
    found = Path(str(resources.files("fastapi_offline"))) / "static" / name

    @pages.get(f"/docs/{name}", name=name)
    async def asset() -> FileResponse:
        return _WholeFile(found, media_type=media_type, headers={"cache-control": "public, max-age=86400"})


for _name, _media_type in _ASSETS.items():
    _serve_asset(_name, _media_type)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's entries for failures."""
    return {status: {"model": ErrorAnswer, "description": MEANINGS[status]} for status in statuses}


def transcribe_documentation(summary: str, name: str) -> dict[str, Any]:
    """Keyword arguments of a route that takes a recording with TranscribeParameters."""
    fields = _fields(TranscribeParameters)
    return {
        "summary": summary,
        "operation_id": name,
        "response_model": TranscriptAnswer | VerboseAnswer,
        "responses": {
            200: _transcripts(FORMATS.values()),
            **error_responses(400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503, 504),
        },
        "openapi_extra": _recording_and(fields, _IDEMPOTENCY),
    }


def detection_documentation(summary: str, name: str) -> dict[str, Any]:
    """Keyword arguments of a route that takes a recording with DetectParameters."""
    return {
        "summary": summary,
        "operation_id": name,
        "response_model": DetectionAnswer,
        "responses": error_responses(400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504),
        "openapi_extra": _recording_and(_fields(DetectParameters)),
    }


def _recording_and(fields: dict[str, Any], *headers: dict[str, Any]) -> dict[str, Any]:
    """A recording in a form with fields, or as the body, with the fields in the query."""
    in_query = [
        {
            "name": field,
            "in": "query",
            "required": False,
            "schema": schema,
            "description": schema.get("description", ""),
        }
        for field, schema in fields["properties"].items()
    ]
    return {
        "parameters": [*in_query, *headers],
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
    """Keyword arguments of a route that takes a recording as OpenAI's clients send it."""
    return {
        "summary": summary,
        "operation_id": name,
        "response_model": OpenAIAnswer | VerboseAnswer,
        "responses": {
            200: _transcripts(formats),
            **error_responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503, 504),
        },
        "openapi_extra": {
            "parameters": [_IDEMPOTENCY],
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": {"schema": _with_file(_fields(form))}},
            },
        },
    }


_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "description": "A request that comes again with the same key, recording and fields gets the same answer. Not with "
    "a stream.",
}
_RECORDING = {"type": "string", "format": "binary", "description": "The recording: audio, or a video's sound."}


def _fields(form: type[BaseModel]) -> dict[str, Any]:
    """A form's schema. A field of a form, or of a query, can be left out; it cannot be null."""
    schema = form.model_json_schema()
    return schema | {"properties": {name: _never_null(field) for name, field in schema["properties"].items()}}


def _never_null(field: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    kept = {key: value for key, value in field.items() if key != "anyOf" and (key, value) != ("default", None)}
    return kept | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _with_file(fields: dict[str, Any]) -> dict[str, Any]:
    required = ["file", *fields.get("required", [])]
    return fields | {"properties": {"file": _RECORDING, **fields["properties"]}, "required": required}


def _transcripts(formats: Iterable[Format]) -> dict[str, Any]:
    """What is no JSON; that is the response model's."""
    types = dict.fromkeys(fmt.media_type.split(";", maxsplit=1)[0] for fmt in formats)
    return {
        "description": "The transcript, in the format asked for",
        "content": {media_type: {} for media_type in types if media_type != "application/json"},
    }
