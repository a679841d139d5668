"""Replays what real client programs have sent, byte by byte. `record.py` makes the recordings."""

import base64
import json
import socket
from http.client import HTTPResponse

import pytest

from api.live import Live
from api.openai.clients.programs import PROGRAMS, RECORDED

RECORDINGS = [
    pytest.param(request, id=f"{name}-{number}")
    for name in (program.name for program in PROGRAMS)
    for number, request in enumerate(json.loads((RECORDED / f"{name}.json").read_text())["requests"])
]


@pytest.mark.parametrize("request_", RECORDINGS)
def test_a_recorded_request_is_served(named: Live, request_: dict[str, str]) -> None:
    """The answer is a 200 without a warning, with the text, or with the model that was asked for."""
    with socket.create_connection(("127.0.0.1", named.port), timeout=60) as service:
        service.sendall(request_["head"].encode("latin-1") + b"\r\n\r\n" + base64.b64decode(request_["body"]))
        answer = HTTPResponse(service)
        answer.begin()
        body = answer.read().decode()
    assert (answer.status, answer.headers["x-asr-warning"]) == (200, None), body
    assert ("hello" if request_["head"].startswith("POST") else '"whisper-1"') in body


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_recording_names_its_program_and_holds_nothing_else(program: object) -> None:
    """It has the versions of the packages, and no path or name of the machine that it was made on."""
    name = program.name  # type: ignore[attr-defined]
    recording = json.loads((RECORDED / f"{name}.json").read_text())
    assert recording["program"]
    assert all(version[0].isdigit() for version in recording["program"].values())
    for request in recording["requests"]:
        sent = request["head"].encode("latin-1") + base64.b64decode(request["body"])
        assert not any(trace in sent for trace in (b"/tmp", b"/home", b"/root", socket.gethostname().encode()))
