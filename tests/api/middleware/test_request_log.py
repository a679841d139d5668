"""Request ids and log lines, which never contain speech, prompts or file names."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from api.live import ALL, tone
from benchmarks.simulation.arrivals import recorded
from waiting import until

TESTS = Path(__file__).parents[2]
SECRETS = {"initial_prompt": "Rosebud", "hotwords": "Kane"}


class Logged:
    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def text(self) -> str:
        return self._log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def post(self, query: str = "", request_id: str = "", **fields: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/transcribe{query}",
            files={"file": ("my-diary.wav", tone())},
            data=ALL | SECRETS | fields,
            headers={"x-request-id": request_id} if request_id else {},
        )


@contextmanager
def logging_service(folder: Path, *arguments: str) -> Iterator[Logged]:
    path = folder / "log"
    with path.open("wb") as log, _process(log, arguments) as process:
        assert process.stdout
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        until(lambda: "model loaded" in path.read_text(), what="the model")
        try:
            yield Logged(url, path)
        finally:
            process.kill()


def _process(log: IO[bytes], arguments: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "api.launch", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=os.environ | {"PYTHONPATH": str(TESTS)})


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with logging_service(tmp_path_factory.mktemp("json"), "json") as service:
        yield service


def test_a_given_id_is_in_the_response_and_in_every_log_line(service):
    """This holds for a failed request too."""
    assert service.post(request_id="from-the-proxy:1").headers["x-request-id"] == "from-the-proxy:1"
    assert service.post("?nonsense=1", request_id="from-the-proxy:2").headers["x-request-id"] == "from-the-proxy:2"
    until(lambda: "from-the-proxy:2" in service.text(), what="the line")
    requests = [line for line in service.lines() if line["event"] == "request" and line["path"] == "/transcribe"]
    assert [(line["request_id"], line["status"]) for line in requests[:2]] == [
        ("from-the-proxy:1", 200),
        ("from-the-proxy:2", 422),
    ]


@pytest.mark.parametrize("bad", ["a b", "a" * 129, "<script>", "ä".encode().decode("latin-1"), '"'])
def test_an_invalid_id_is_replaced(service, bad):
    """A client cannot forge a log line through its id."""
    answer = httpx.get(f"{service.url}/health/live", headers={b"x-request-id": bad.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_every_response_has_an_id_of_its_own(service):
    """Errors and unknown paths have one too."""
    answers = [
        httpx.get(f"{service.url}{path}") for path in ("/health", "/nowhere", "/transcribe", "/metrics", "/docs")
    ]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_the_log_has_no_speech_prompts_or_file_names(service):
    """No line has a word of the transcript, the prompts or the file name, whether the request fails or not."""
    assert "xylophone" in service.post(request_id="private").json()["text"]
    service.post(response_format="ndjson")
    service.post(language="Rosebud")
    service.post(beam_size="Rosebud")
    service.post(Rosebud="1")
    until(lambda: service.text().count('"event": "request"') >= 5, what="the lines")
    assert not re.search("xylophone|Rosebud|Kane|diary", service.text())


@pytest.mark.parametrize("response_format", ["json", "ndjson"])
def test_each_transcript_has_a_log_line_with_its_durations(service, response_format):
    """The line has the seconds of audio, speech, queue and inference. benchmarks/simulation reads arrivals from it."""
    request_id = f"cost-{response_format}"
    service.post(request_id=request_id, response_format=response_format)
    (line,) = [each for each in service.lines() if each["event"] == "transcribed" and each["request_id"] == request_id]
    assert 0 < line["speech_s"] <= line["audio_s"]
    assert min(line["queue_s"], line["inference_s"]) >= 0
    assert line["total_s"] >= line["inference_s"]
    until(lambda: len(recorded(service.text().splitlines())) >= 1, what="the arrival")


@pytest.mark.parametrize("response_format", ["json", "ndjson"])
def test_transcripts_are_logged_if_the_setting_says_so(tmp_path, response_format):
    """ASR_LOG_TRANSCRIPTS adds a log line with the text and the request id."""
    with logging_service(tmp_path, "json", "log_transcripts=true") as service:
        service.post(request_id="with-text", response_format=response_format)
        until(lambda: "xylophone" in service.text(), what="the line")
        (line,) = [line for line in service.lines() if line["event"] == "transcript"]
    assert (line["text"], line["request_id"]) == ("the secret word is xylophone", "with-text")


@pytest.mark.parametrize("fmt", ["json", "plain"])
def test_a_path_cannot_forge_a_log_line(tmp_path, fmt):
    """Line ends and terminal control characters in a path are escaped."""
    with logging_service(tmp_path, fmt) as service:
        until(lambda: "Application startup complete" in service.text(), what="the last line of the start")
        until(lambda: "model loaded" in service.text(), what="the model's line")
        httpx.get(f"{service.url}/before")
        until(lambda: "/before" in service.text(), what="a request's line")
        n_lines = len(service.text().splitlines())
        httpx.get(f"{service.url}/a%0a%0d2026-01-01%20[error]%20forged%1b[31m%c2%85%e2%80%a8%00")
        until(lambda: "forged" in service.text(), what="the line")
        added = service.text().splitlines()[n_lines:]
    assert len(added) == 1
    assert "\x1b[31m" not in added[0]
