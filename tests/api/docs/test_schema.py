"""Valid and invalid requests, generated from the OpenAPI document. Every response must match the document."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis import CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.serialization import Binary

from api.live import tone
from asr_service.api.app import openapi_schema

SOUND = tone(0.1)
AUDIO = st.sampled_from([*[SOUND] * 8, tone(0.2, rate=44_100), SOUND[:60], b""]).map(Binary)
schemathesis.openapi.format("binary", AUDIO)
for media_type in ("audio/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, AUDIO)  # type: ignore[arg-type]  # the documented use, which its types do not allow

SPELLINGS = ["true", "false", "1", "0", "on", "off", "yes", "no", "y", "n", "t", "f", "True", "False"]
"""How a form writes booleans."""

LIKELY = {
    "model": ["whisper-1", "large-v3-turbo", "turbo", "gpt-4o-transcribe"],
    "language": ["en", "Portuguese", "auto", "Klingon"],
    "audio_track": ["1", "9"],
    "task": ["translate", "transcribe"],
}
"""Values that random text would never be. The last of each is refused."""


def document() -> dict[str, Any]:
    """Return the document with values as a form sends them, and with names that exist instead of any text.

    The document has options in forms. At /transcribe and /detect-language they are moved to the query, where the
    options of raw bodies are.
    """
    changed: dict[str, Any] = openapi_schema()
    for path, operation in ((path, each) for path, item in changed["paths"].items() for each in item.values()):
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
        for name, field in form.get("properties", {}).items():
            _narrow(name, field)
        if path in {"/transcribe", "/detect-language"}:
            options = {name: field for name, field in form["properties"].items() if name != "file"}
            form["properties"] = {"file": form["properties"]["file"]}
            operation.setdefault("parameters", []).extend(
                {"name": name, "in": "query", "required": False, "schema": field} for name, field in options.items()
            )
    return changed


def _narrow(name: str, field: dict[str, Any]) -> None:
    if field.get("type") == "boolean":
        field |= {"type": "string", "enum": SPELLINGS}
    if name == "keywords":
        field |= {"type": "string", "items": {}}  # any text is a list of one item
    if name == "languages":
        field["items"] = {"enum": LIKELY["language"]}
    if name in LIKELY:
        field["enum"] = LIKELY[name]
    if name == "response_format":  # most requests have options of subtitles and the first value
        field["enum"].sort(key=lambda value: value != "vtt")


def refuses_what_breaks_its_rules(context: CheckContext, answer: Response, case: Any) -> bool | None:
    """Check that invalid data is refused, unless a field is empty: such a field counts as left out."""
    sent = [*(case.body.values() if isinstance(case.body, dict) else ()), *(case.query or {}).values()]
    return None if "" in sent else negative_data_rejection(context, answer, case)


CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, refuses_what_breaks_its_rules,
]  # fmt: skip

schema = schemathesis.openapi.from_dict(document())
schema.config.generation.modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.fixture
def answered(request: pytest.FixtureRequest) -> Iterator[Counter[int]]:
    """Count the statuses. A path that takes recordings must have transcribed some, or little was tested."""
    statuses: Counter[int] = Counter()
    yield statuses
    name = request.node.name.replace("/jobs/{job_id}/transcript", "")  # no generated id is one of a job
    if any(word in name for word in ("transcri", "translat")):
        assert statuses[200] >= 3, (request.node.name, statuses)


@schema.parametrize()
@settings(
    max_examples=35,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_response_is_as_documented(named, answered, case: Any):
    """There is no 5xx and no undocumented status, type or field. Invalid requests are refused."""
    answer = case.call_and_validate(base_url=named.url, checks=CHECKS)
    answered[answer.status_code] += 1
