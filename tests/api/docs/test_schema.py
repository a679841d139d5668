"""Requests made from the OpenAPI document, right ones and wrong ones: no answer is outside of what it says."""

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
AUDIO = st.sampled_from([SOUND, SOUND, SOUND, tone(0.2, rate=44_100), SOUND[:60], b""]).map(Binary)
schemathesis.openapi.format("binary", AUDIO)
for media_type in ("audio/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, AUDIO)  # type: ignore[arg-type]  # what it takes is what it documents

SPELLINGS = ["true", "false", "1", "0", "on", "off", "yes", "no", "y", "n", "t", "f", "True", "False"]
"""A form has no truth values, but text."""

LIKELY = {
    "model": ["whisper-1", "large-v3-turbo", "turbo", "gpt-4o-transcribe"],
    "language": ["en", "Portuguese", "auto", "Klingon"],
}
"""What any text would hardly ever be; the last is refused."""


def document() -> dict[str, Any]:
    """The document, with values as they are sent, and names that exist where it takes any text.

    Options that may stand in the form and in the query, though not in both, stand in the form at /translate and in
    the query elsewhere.
    """
    said: dict[str, Any] = openapi_schema()
    for path, operation in ((path, each) for path, item in said["paths"].items() for each in item.values()):
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
        if path == "/translate":
            del operation["parameters"]
        parameters = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
        if parameters and form:
            form["properties"] = {"file": form["properties"]["file"]}
        in_query = {parameter["name"]: parameter["schema"] for parameter in parameters}
        for name, field in (form.get("properties", {}) | in_query).items():
            _narrow(name, field)
    return said


def _narrow(name: str, field: dict[str, Any]) -> None:
    if field.get("type") == "boolean":
        field |= {"type": "string", "enum": SPELLINGS}
    if name == "keywords":
        field |= {"type": "string", "items": {}}  # any text is a list of one
    if name == "languages":
        field["items"] = {"enum": LIKELY["language"]}
    if name in LIKELY:
        field["enum"] = LIKELY[name]


def refuses_what_breaks_its_rules(context: CheckContext, answer: Response, case: Any) -> bool | None:
    """But for empty text: such a field counts as left out."""
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
    """Statuses. An address that takes recordings has to have transcribed some, or little was tried."""
    statuses: Counter[int] = Counter()
    yield statuses
    if any(word in request.node.name for word in ("transcri", "translat")):
        assert statuses[200] >= 5, statuses


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(named, answered, case: Any):
    """No 5xx, no status, type or field that the document does not have; what breaks its rules is refused."""
    answer = case.call_and_validate(base_url=named.url, checks=CHECKS)
    answered[answer.status_code] += 1
