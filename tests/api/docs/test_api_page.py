"""Tests docs/api.md: its commands run, its examples match responses, its tables are complete."""

import inspect
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from openai import InvalidWebhookSignatureError

from asr_service.api.app import openapi_schema
from asr_service.api.jobs.schemas import JobForm, JobResponse
from asr_service.api.native.schemas import (
    DetectionResponse,
    ErrorResponse,
    HealthResponse,
    TranscribeParameters,
    TranscriptResponse,
)
from asr_service.api.openai.realtime import connection, server_events
from asr_service.api.openai.schemas import OpenAIForm
from asr_service.api.problems import STATUS
from asr_service.formats import EVENTS, FORMATS
from asr_service.jobs.records import JobStatus
from asr_service.serving.http import refusal
from asr_service.serving.http.refusal import Refusal, too_large_head
from asr_service.settings import Settings
from asr_service.webhooks.events import EventType, build_message
from asr_service.webhooks.signing import new_secret, parse_secrets, sign
from speech import DATA

REFUSALS = [each for each in vars(refusal).values() if isinstance(each, Refusal)] + [too_large_head("")]
PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_as_shown(request, tmp_path, command):
    """Only the port is changed, and a recording of that name is there."""
    live = request.getfixturevalue("named" if "/jobs" in command else "live")  # `named` has jobs
    (tmp_path / "speech.flac").write_bytes((DATA / "en-wizard.flac").read_bytes())
    assert "http://127.0.0.1:8000/" in command
    ran = subprocess.run(
        ["bash", "-c", command.replace("http://127.0.0.1:8000", live.url)],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(rb'hello|"status":"ok"|"id":"whisper-1"|"value":"ek_|"name":"english"', ran.stdout)


def test_the_webhook_example_verifies_an_event():
    """And refuses a changed one."""
    program = next(each for each in PROGRAMS if "webhook_secret" in each)
    secret = new_secret()
    signed = sign(parse_secrets(secret), "evt_1", int(time.time()), b"{}")
    shown = program.replace("whsec_...", secret)
    exec(shown, {"body": "{}", "headers": signed})
    with pytest.raises(InvalidWebhookSignatureError):
        exec(shown, {"body": "{ }", "headers": signed})


def test_the_sdk_example_runs_as_shown(live, tmp_path):
    """Only the port is changed, and a recording of that name is there."""
    program = next(each for each in PROGRAMS if "transcriptions" in each)
    (tmp_path / "speech.flac").write_bytes((DATA / "en-wizard.flac").read_bytes())
    shown = program.replace("http://127.0.0.1:8000", live.url)
    ran = subprocess.run([sys.executable, "-c", shown], cwd=tmp_path, capture_output=True, check=False)
    assert (ran.stdout, ran.stderr) == (b"hello\n", b"")


def test_the_example_responses_match_real_ones(live):
    """They have the same fields, of the same types."""
    transcript, detection, job, event, error = EXAMPLES
    TranscriptResponse.model_validate(transcript, strict=True)
    DetectionResponse.model_validate(detection, strict=True)
    JobResponse.model_validate(job, strict=True)
    message = build_message(event["id"], "", EventType(event["type"]), event["created_at"], event["data"])
    assert json.loads(message.body) == event
    ErrorResponse.model_validate(error, strict=True)
    answer = live.post(word_timestamps="true").json()
    assert _shape(transcript) == _shape(answer)
    assert live.post(langauge="en").json() == error


@pytest.mark.parametrize(
    "names",
    [
        sorted(TranscribeParameters.model_fields),
        sorted(OpenAIForm.model_fields),
        sorted(JobForm.model_fields),
        sorted(JobStatus),
        sorted(FORMATS),
        sorted({kind.code for kind in STATUS} - {"client_gone", "bad_request", "key_limit_reached"}),
        sorted(map(str, set(STATUS.values()) - {499})),
        sorted(text for each in REFUSALS for text in (each.code, each.status[:3].decode())),
        sorted(HealthResponse.model_fields),
        sorted(openapi_schema()["paths"]),
        sorted({fmt.media_type.split(";")[0] for fmt in (*FORMATS.values(), EVENTS)}),
    ],
    ids=[
        "options",
        "OpenAI's fields",
        "fields of jobs",
        "states of jobs",
        "formats",
        "codes",
        "statuses",
        "refusals before the application",
        "health",
        "addresses",
        "media types",
    ],
)
def test_the_page_names_every_option_code_and_field(names):
    """It also names every format, status, path and media type."""
    assert [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", PAGE)] == []


def test_the_page_names_every_event_of_live_speech():
    """The last part of a name is enough after another name with the same beginning."""
    code = "".join(map(inspect.getsource, (connection, server_events)))
    events = re.findall(r'"((?:session|input_audio_buffer|conversation)\.[a-z_.]+)"', code)
    assert {"session.created", "input_audio_buffer.cleared", "conversation.item.done"} <= set(events)
    assert [each for each in events if f"`{each}" not in PAGE and f"`.{each.rsplit('.', 1)[1]}`" not in PAGE] == []


def test_the_settings_on_the_page_exist_and_have_those_defaults():
    """`ASR_X` (value) shows the default of X."""
    fields = Settings.model_fields
    for name, shown in re.findall(r"`ASR_(\w+)`(?: \(([^)]*)\))?", PAGE):
        assert name.lower() in fields
        if shown:
            spelled = {"2 GiB": 2 * 1024**3, "24 h": 24 * 3600}
            stated = spelled[shown] if shown in spelled else json.loads(shown)
            assert stated == fields[name.lower()].default, name


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    return [_shape(value[0])] if isinstance(value, list) and value else type(value).__name__
