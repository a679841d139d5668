"""`asr-service transcribe` with the model in its own process."""

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from api.live import serving, tone
from asr_service.cli.transcribe import local
from asr_service.cli.transcribe.files.outputs import Renderer
from asr_service.cli.transcribe.local import EngineEnded, local_recognizer
from asr_service.cli.transcribe.recognizer import open_recognizer
from asr_service.cli.transcribe.remote import remote_recognizer
from asr_service.cli.transcribe.types import Recognizer
from asr_service.errors import InvalidParameter
from asr_service.formats import FILE_FORMATS, SubtitleStyle
from asr_service.hardware.devices import Device
from asr_service.settings import load_settings
from asr_service.transcript import Transcript
from cli.terminal import run
from fakes import Call, FakeModel
from hardware import fake_nvml
from speech import RECORDINGS

FIELDS = {"vad_filter": "false", "word_timestamps": "true"}


async def transcripts(recognizer: Recognizer, files: Sequence[Path]) -> list[Transcript]:
    async def one(path: Path) -> Transcript:
        with path.open("rb") as file:
            events = [event async for event in recognizer.transcribe(file)]
        assert isinstance(events[-1], Transcript)
        return events[-1]

    return list(await asyncio.gather(*map(one, files)))


async def transcribe_locally(model: FakeModel, files: Sequence[Path], fields=FIELDS) -> list[Transcript]:
    async with local_recognizer(
        fields, load_settings({}, chunk_length_s=30), Device("cpu"), lambda *_: model
    ) as recognizer:
        return await transcripts(recognizer, files)


def test_the_local_model_and_a_service_give_the_same_transcripts(tmp_path):
    """Both write the same files, to the last digit. Only the timing within JSON differs."""
    for seconds in (0.4337, 1.2981, 33.33):
        (tmp_path / f"{seconds}.wav").write_bytes(tone(seconds, rate=44_100))
    files = sorted(tmp_path.iterdir())

    async def transcribe_remotely(url: str) -> list[Transcript]:
        async with remote_recognizer(url, None, FIELDS) as recognizer:
            return await transcripts(recognizer, files)

    local_transcripts = asyncio.run(transcribe_locally(FakeModel(), files))
    with serving() as live:
        remote_transcripts = asyncio.run(transcribe_remotely(live.url))
    renderer = Renderer(SubtitleStyle(), words_in_json=True)
    for one, other in zip(local_transcripts, remote_transcripts, strict=True):
        for fmt in FILE_FORMATS.values():
            if fmt.name != "json":
                assert renderer.render(fmt, one) == renderer.render(fmt, other)
        one_json, other_json = (json.loads(renderer.render(FILE_FORMATS["json"], each)) for each in (one, other))
        assert one_json.pop("timing").keys() == other_json.pop("timing").keys()
        assert one_json == other_json


# The engine's thread ends with SystemExit, which threading ignores and pytest reports.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lost_device_ends_the_run(tmp_path):
    """No later recording can succeed, so EngineEnded is raised, with exit code 70."""

    def before(_: Call) -> None:
        raise RuntimeError("CUDA failed with error unspecified launch failure")

    (tmp_path / "a.wav").write_bytes(tone())
    model = FakeModel()
    with pytest.raises(EngineEnded) as raised, capture_logs():
        asyncio.run(_lose(model, before, tmp_path / "a.wav"))
    assert raised.value.exit_code == 70


async def _lose(model: FakeModel, before, path: Path) -> None:
    async with local_recognizer(FIELDS, load_settings({}), Device("cpu"), lambda *_: model) as recognizer:
        model.before = before
        await transcripts(recognizer, [path])


def test_a_slow_local_model_has_no_deadline(tmp_path):
    """ASR_REQUEST_TIMEOUT_S limits requests over a network. Local recordings may wait for each other for longer."""
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(tone())
    model = FakeModel(before=lambda _: threading.Event().wait(0.05))
    settings = load_settings({}, request_timeout_s=0.01, model_threads=1)

    async def transcribe_all() -> list[Transcript]:
        async with local_recognizer(FIELDS, settings, Device("cpu"), lambda *_: model) as recognizer:
            return await transcripts(recognizer, sorted(tmp_path.iterdir()))

    assert len(asyncio.run(transcribe_all())) == 3


def test_the_process_sees_only_the_device_of_the_option(monkeypatch):
    """The model uses the first GPU that is visible, so --device must be the only visible one."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    fake_nvml.install(monkeypatch, [fake_nvml.FakeGpu("GPU-0"), fake_nvml.FakeGpu("GPU-1")])
    seen: list[tuple[Device, str]] = []

    @asynccontextmanager
    async def recognizer(_fields: object, _settings: object, device: Device) -> AsyncIterator[None]:
        seen.append((device, os.environ["CUDA_VISIBLE_DEVICES"]))
        yield

    monkeypatch.setattr(local, "local_recognizer", recognizer)

    async def work() -> None:
        async with open_recognizer(load_settings(model="base", devices="cuda:1"), {}):
            pass

    asyncio.run(work())
    assert seen == [(Device("cuda", 1), "GPU-1")]


def test_options_that_the_model_cannot_fulfil_are_refused_before_any_work(tmp_path):
    """An English-only model refuses to translate."""
    with pytest.raises(InvalidParameter, match="knows only English"):
        asyncio.run(transcribe_locally(FakeModel().english_only(), [], {"task": "translate"}))


@pytest.mark.parametrize(
    ("env", "code", "message"),
    [
        ({"ASR_MODEL": "tiny", "ASR_OFFLINE": "1"}, 69, "The model 'tiny' is missing or incomplete."),
        ({"ASR_MODELL": "base"}, 78, "Did you mean ASR_MODEL?"),
    ],
)
def test_without_a_model_it_ends_with_the_services_exit_code(env, code, message, tmp_path):
    """A missing model ends with 69 and a wrong setting with 78, and the reason is printed without a traceback."""
    (tmp_path / "a.wav").write_bytes(tone())
    result = run("transcribe", "a.wav", cwd=tmp_path, HF_HOME=str(tmp_path / "home"), **env)
    assert result.returncode == code, result.stderr
    assert "\\n" not in result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_decoder_that_cannot_start_ends_the_run(tmp_path):
    """The last line says so, and the exit code is 70."""
    (tmp_path / "a.wav").write_bytes(tone())
    result = run("transcribe", "a.wav", cwd=tmp_path, ASR_DECODER_MEMORY_BYTES="1000000")
    assert result.returncode == 70
    assert result.stderr.splitlines()[-1].startswith("asr-service transcribe: the audio decoder cannot be started")


@pytest.mark.speech
def test_real_speech_from_a_file_and_from_a_pipe(base_model_dir, tmp_path):
    """Whisper base transcribes both at the same time in one process."""
    named, piped = RECORDINGS["en-wizard"], RECORDINGS["es-surprise"]
    with subprocess.Popen(["cat", str(piped.path)], stdout=subprocess.PIPE) as cat:
        result = run(
            "transcribe", str(named.path), "-", "-o", "out", "--json", "--model", str(base_model_dir),
            "--device", "cpu", cwd=tmp_path, stdin=cat.stdout,
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert {json.loads(line)["status"] for line in result.stdout.splitlines()} == {"done"}
    for recording, name in ((named, "en-wizard.txt"), (piped, "stdin.txt")):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert recording.wer(text) <= recording.base_wer + 0.1
