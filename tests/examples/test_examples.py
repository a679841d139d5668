"""The examples run unchanged and print what the service answers."""

import os
import re
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from faster_whisper import decode_audio

from api.live import Live, serving, wav
from fakes import FakeModel, writing
from speech import DATA
from waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples"
RECORDING = str(DATA / "en-wizard.flac")
NEEDS_NODE = pytest.mark.needs_program("node")
NEEDS_CURL = pytest.mark.needs_program("curl")


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(FakeModel(script=writing(" hello there"))) as live:
        yield live


@pytest.fixture(scope="module")
def failing() -> Iterator[Live]:
    def fail(_: object) -> None:
        raise RuntimeError("the model is broken")

    with serving(FakeModel()) as live:
        live.model.before = fail
        yield live


def run(service: str, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=EXAMPLES,
        env=os.environ | {"SERVICE": service} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def short_speech(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a WAV file of one word, which the examples of live speech send as fast as it was spoken."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    samples = decode_audio(RECORDING)[:20_000]
    path.write_bytes(wav((samples * 32_767).astype("<i2").tobytes()))
    return str(path)


LIVE = [
    pytest.param([sys.executable, "live.py"], id="openai"),
    pytest.param(["node", "--experimental-websocket", "live.mjs"], id="node", marks=NEEDS_NODE),
]


@pytest.mark.parametrize("command", LIVE)
def test_the_examples_of_live_speech_print_each_turn(live, short_speech, command):
    """Node 20 has WebSockets as an experiment, Node 22 without."""
    done = run(live.url, *command, short_speech)
    assert done.returncode == 0, done.stderr
    assert "\n> hello there\n" in done.stdout


@pytest.mark.parametrize("command", LIVE)
def test_an_example_of_live_speech_ends_if_a_turn_fails(failing, short_speech, command):
    """It prints the error of the service."""
    done = run(failing.url, *command, short_speech)
    assert done.returncode == 1
    assert "failed" in done.stderr


@pytest.mark.parametrize("command", LIVE)
@pytest.mark.parametrize("name", ["en-wizard.flac", "stereo.wav"])
def test_an_example_of_live_speech_refuses_what_it_cannot_send(live, tmp_path, command, name):
    """It names the command that converts the recording. Stereo would be sent at half its speed."""
    recording = DATA / name
    if name == "stereo.wav":
        recording = tmp_path / name
        with wave.open(str(recording), "wb") as file:
            file.setparams((2, 2, 24_000, 24_000, "NONE", ""))
            file.writeframes(bytes(96_000))
    done = run(live.url, *command, str(recording))
    assert done.returncode == 1
    assert "-ac 1 -ar 24000 SPEECH.wav" in done.stderr


CURL = pytest.param(["./curl.sh"], id="curl", marks=NEEDS_CURL)
SDK = pytest.param([sys.executable, "openai_sdk.py"], id="openai")
HTTPX = pytest.param([sys.executable, "httpx_stream.py"], id="httpx")
NODE = pytest.param(["node", "fetch.mjs"], id="node", marks=NEEDS_NODE)


@pytest.mark.parametrize(
    ("command", "options", "shows"),
    [
        pytest.param(["./curl.sh"], [], r"^hello there$", id="curl", marks=NEEDS_CURL),
        pytest.param(["./curl.sh"], ["srt"], r"^00:00:01,495 --> .*\nhello there$", id="curl srt", marks=NEEDS_CURL),
        pytest.param(
            [sys.executable, "openai_sdk.py"],
            [],
            r"^english, 4\.9 s: hello there\n(?s:.*) there\nhello there$",
            id="openai",
        ),
        pytest.param(
            [sys.executable, "httpx_stream.py"], [], r"^ +0\.00 +1\.00 hello there\n4\.9 s in en, ", id="httpx"
        ),
        pytest.param(
            ["node", "fetch.mjs"],
            [],
            r"^hello there\n1\.495 [\d.]+ hello\n[\d.]+ [\d.]+ there$",
            id="node",
            marks=NEEDS_NODE,
        ),
        pytest.param(["node", "fetch.mjs"], ["--stream"], r"^0 1 hello there$", id="node stream", marks=NEEDS_NODE),
    ],
)
def test_an_example_prints_the_transcript(live, command, options, shows):
    """It needs only a recording and the service's address."""
    result = run(live.url, *command, RECORDING, *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(shows, result.stdout, re.MULTILINE), result.stdout


@NEEDS_CURL
def test_a_name_may_contain_the_marks_that_curl_uses(live, tmp_path):
    recording = tmp_path / 'a "b" c\\d;e,f.flac'
    recording.write_bytes(Path(RECORDING).read_bytes())
    assert run(live.url, "./curl.sh", str(recording)).stdout == "hello there\n"


@pytest.mark.parametrize("command", [CURL, HTTPX, NODE, SDK, *LIVE])
def test_an_example_without_a_recording_shows_how_it_is_used(live, command):
    """Without a traceback of Python."""
    done = run(live.url, *command)
    assert done.returncode != 0
    assert f"{command[-1]} " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [CURL, HTTPX, NODE, SDK])
def test_an_example_prints_the_services_error(live, command, tmp_path):
    """A failure ends with an exit code other than 0."""
    (tmp_path / "no.wav").write_text("this is no audio, it is a poem")
    result = run(live.url, *command, str(tmp_path / "no.wav"))
    assert result.returncode != 0
    assert "No audio was recognised" in result.stdout + result.stderr


@pytest.mark.parametrize("command", [CURL, HTTPX, NODE, SDK])
def test_an_example_tries_again_when_the_service_is_busy(command):
    """The refusals are not part of its output."""
    release = threading.Event()
    with serving(FakeModel(script=writing(" hello there")), max_open_requests=1) as busy:
        busy.model.before = lambda _: release.wait(20)
        first = threading.Thread(target=busy.post)
        first.start()
        until(lambda: busy.admission.open_requests == 1)
        process = subprocess.Popen(
            [*command, RECORDING],
            cwd=EXAMPLES,
            env=os.environ | {"SERVICE": busy.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: busy.metric('asr_request_failures_total{reason="overloaded"}'), what="a refusal")
        release.set()
        first.join(20)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "hello there" in stdout
    assert "overloaded" not in stdout


def test_the_readme_lists_every_example():
    """examples/README.md names each file of the folder."""
    page = (EXAMPLES / "README.md").read_text()
    assert all(path.name in page for path in EXAMPLES.iterdir() if path.suffix != ".md")
