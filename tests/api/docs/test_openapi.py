"""The OpenAPI document, and the page that shows it."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate

from asr_service.api.app import openapi_schema
from asr_service.api.native.schemas import TranscribeParameters
from asr_service.api.problems import MEANINGS, STATUS

SNAPSHOT = Path(__file__).parent / "openapi.json"
REFRESH = "python -c 'from asr_service.api.app import *; import json; print(json.dumps(openapi_schema(), indent=2))'"


def test_the_document_is_valid_openapi():
    """An independent validator accepts it."""
    validate(openapi_schema())


def test_the_document_equals_its_snapshot():
    """A change of the API shows in a diff before callers see it."""
    current = openapi_schema()
    current["info"]["version"] = version = "any"
    snapshot = json.loads(SNAPSHOT.read_text())
    snapshot["info"]["version"] = version
    assert current == snapshot, f"The API has changed. If that is intended, run:\n{REFRESH} > {SNAPSHOT}"


def test_every_endpoint_that_may_need_a_key_documents_the_refusal():
    """Only the health of the service is open to everybody."""
    paths = openapi_schema()["paths"]
    operations = {path: each for path, methods in paths.items() for each in methods.values()}
    assert {path for path, each in operations.items() if "401" not in each["responses"]} == {
        "/health",
        "/health/live",
        "/health/ready",
    }


def test_the_document_has_every_option_and_every_status():
    """Options are form fields. A page that showed the query's too would offer each option twice."""
    assert set(STATUS.values()) - {499} <= set(MEANINGS)
    for path in ("/transcribe", "/translate"):
        post = openapi_schema()["paths"][path]["post"]
        form = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        assert set(form) == {"file", *TranscribeParameters.model_fields}
        assert {parameter["in"] for parameter in post["parameters"]} == {"header"}
        assert "query" in post["description"]
        assert {"200", "400", "408", "413", "415", "422", "500", "503", "504"} <= set(post["responses"])


def test_every_operation_and_option_is_described():
    """Each operation has a summary and a description, and so has each field and parameter."""
    for path, item in openapi_schema()["paths"].items():
        for operation in item.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert all(parameter["description"] for parameter in operation.get("parameters", ())), path
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for name, field in content["schema"].get("properties", {}).items():
                    assert field.get("description"), (path, name)


def test_every_example_in_the_document_is_valid():
    """Each matches the schema that contains it. There are examples of transcripts and of errors."""
    components = openapi_schema()["components"]
    shown = {name: schema["examples"] for name, schema in components["schemas"].items() if "examples" in schema}
    assert {
        "TranscriptResponse",
        "OpenAITranscription",
        "OpenAIVerboseTranscription",
        "ModelsResponse",
        "ErrorResponse",
    } <= set(shown)
    for name, examples in shown.items():
        validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})
        assert [error.message for example in examples for error in validator.iter_errors(example)] == []


def test_the_page_can_show_the_document(live):
    """Its script supports the OpenAPI version of the document. Swagger UI 4 would show only an error."""
    assert openapi_schema()["openapi"].startswith("3.1.")
    assert "isOAS31" in live.get("/docs/swagger-ui-bundle.js").text


def test_the_page_needs_no_other_host(live):
    """All of its assets load from this service, and it asks no public validator."""
    page = live.get("/docs")
    assert page.status_code == 200
    referred = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert {"openapi.json", "docs/swagger-ui-bundle.js", "docs/swagger-ui.css"} <= set(referred)
    for address in referred:
        assert not urlsplit(address).netloc
        assert live.get(f"/{address}").status_code == 200
    assert not re.search(r"https?://(?!127)", page.text)
    assert "validatorUrl: null" in page.text
    assert live.get("/openapi.json").json() == openapi_schema() | {"servers": [{"url": "."}]}


@pytest.mark.parametrize(
    ("prefix", "server"),
    [
        ("/speech/asr", "/speech/asr"),
        ("/asr/", "/asr"),
        ("", "."),
        ("//evil.example", "."),
        ("/a b", "."),
        ("asr", "."),
    ],
)
def test_the_document_names_the_path_of_the_service(live, prefix, server):
    """A proxy that publishes the service under a path names it in X-Forwarded-Prefix. Anything else is ignored."""
    headers = {"x-forwarded-prefix": prefix}
    assert httpx.get(f"{live.url}/openapi.json", headers=headers).json()["servers"] == [{"url": server}]
    assert live.get("/openapi.json").json()["servers"] == [{"url": "."}]


@pytest.mark.parametrize(
    "path", ["/docs/../../../../etc/passwd", "/docs/%2e%2e/%2e%2e/etc/passwd", "/docs/package.json"]
)
def test_the_page_serves_only_its_own_files(live, path):
    """No path leads to another file."""
    assert live.get(path).status_code == 404


@pytest.mark.parametrize("wanted", ["x", "bytes=999999999-", "bytes=0-9"])
def test_range_headers_are_ignored(live, wanted):
    """An error response to a range would have another shape than our errors."""
    whole = live.get("/docs/favicon.png").content
    answer = httpx.get(f"{live.url}/docs/favicon.png", headers={"range": wanted})
    assert (answer.status_code, answer.content) == (200, whole)
