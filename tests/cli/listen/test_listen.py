"""`asr-service listen`: its sound, its display, and its ends."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from faster_whisper import decode_audio

from api.live import Live, serving, wav
from api.openai.clients.live_programs import write_speech
from asr_service.access.keys import entry, new_secret
from asr_service.cli.backend import Service
from asr_service.cli.listen.display import TurnDisplay
from asr_service.cli.listen.local import LocalSession
from asr_service.cli.listen.run import Listening, listen
from asr_service.cli.listen.sound import microphone, recording
from asr_service.cli.transcribe.local import local_engine
from asr_service.client.live import FinalText, PartialText, TurnBegan
from asr_service.engine.pipeline.live.options import LiveOptions
from asr_service.errors import ConfigurationError
from asr_service.hardware.devices import Device
from asr_service.settings import load_settings
from cli.terminal import begin, run
from fakes import Call, FakeModel
from speech import DATA
from waiting import until

KEY = new_secret()


@pytest.fixture(scope="module")
def keyed() -> Iterator[Live]:
    with serving(api_keys=entry("listener", KEY)) as live:
        yield live


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech") / "speech.wav")


def test_a_service_transcribes_a_recording_that_is_played(keyed, speech, tmp_path):
    """Where the output is no terminal, it has the final text of each turn alone."""
    address = keyed.url.replace("http", "HTTP")  # a scheme may be in capitals
    done = run("listen", str(speech), "--server", address, "-l", "en", cwd=tmp_path, ASRSERVICE_API_KEY=KEY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize(
    ("arguments", "key", "code", "said"),
    [
        (["--language", "klingon"], KEY, 1, "klingon"),
        ([], "wrong", 69, "Invalid API key."),
        (["--model", "base"], KEY, 2, "do not apply to a --server"),
    ],
    ids=["option", "key", "command"],
)
def test_what_is_wrong_is_reported_with_its_exit_code(keyed, speech, tmp_path, arguments, key, code, said):
    """An option that the service refuses, a wrong key, and options that exclude each other."""
    done = run("listen", str(speech), "--server", keyed.url, *arguments, cwd=tmp_path, ASRSERVICE_API_KEY=key)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.replace("│", "").split())


async def test_a_model_in_this_process_transcribes_a_recording_that_is_played(speech):
    """The sound comes no faster than it was spoken, and the last turn is completed."""
    loop = asyncio.get_running_loop()
    async with (
        local_engine(load_settings({}), Device("cpu"), lambda *_: FakeModel()) as (engine, _),
        engine.open_live(LiveOptions()) as session,
    ):
        listener, began_s = LocalSession(session), loop.time()
        async for samples in recording(speech, loop.create_future()):
            await listener.feed(samples)
        assert loop.time() - began_s >= 0.8
        await listener.finish()
        texts = [text async for text in listener.texts()]
    assert isinstance(texts[-1], FinalText)
    assert texts[-1].text == "hello"


@pytest.fixture(scope="module")
def _slow() -> Iterator[tuple[Live, threading.Event]]:
    go_on = threading.Event()
    go_on.set()
    with serving(FakeModel(before=lambda _: go_on.wait(30))) as live:
        yield live, go_on


@pytest.fixture
def held(_slow: tuple[Live, threading.Event]) -> Iterator[tuple[Live, threading.Event]]:
    """A service whose model waits until the event is set."""
    live, go_on = _slow
    go_on.clear()
    yield live, go_on
    go_on.set()
    until(
        lambda: live.metric('asr_live_sessions{slot="0"}') == 0 and live.idle()
    )  # the next test counts the calls of its own session


def test_a_turn_that_fails_is_reported_and_the_others_have_their_texts(tmp_path):
    """The exit code shows that some text is missing."""

    def fail(call: Call) -> None:
        if call.stage == "generate" and is_broken.is_set():
            raise RuntimeError("bad window")

    is_broken = threading.Event()
    samples = decode_audio(str(DATA / "en-wizard.flac"), sampling_rate=16_000)[:24_000]
    sound = np.concatenate([samples, np.zeros(16_000, np.float32)])
    (tmp_path / "twice.wav").write_bytes(wav((np.tile(sound, 2) * 32_767).astype("<i2").tobytes()))
    with serving(FakeModel(before=fail)) as live:
        is_broken.set()
        process = begin("listen", "twice.wav", "--server", live.url, cwd=tmp_path)
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"Some words have no text: ")
        is_broken.clear()
        assert process.communicate(timeout=60) == (b"hello\n", b"")
    assert process.returncode == 1


def begin_to_listen(live: Live, cwd: Path) -> subprocess.Popen[bytes]:
    """Play a long recording to the service, and return when the model has its first words."""
    n_before = len(live.model.calls)
    process = begin("listen", str(DATA / "en-wizard.flac"), "--server", live.url, cwd=cwd)
    until(lambda: len(live.model.calls) > n_before, what="the first words")
    return process


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C, and return when the command says that it waits."""
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == b"Waiting for the last text. Press Ctrl-C again to stop at once.\n"


def test_ctrl_c_ends_the_sentence_and_prints_its_text(held, tmp_path):
    """The exit code still shows that the recording was not played to its end."""
    live, go_on = held
    process = begin_to_listen(live, tmp_path)
    interrupt(process)
    go_on.set()
    assert process.communicate(timeout=30) == (b"hello\n", b"")
    assert process.returncode == 130


def test_a_second_ctrl_c_ends_the_command_at_once(held, tmp_path):
    live, _ = held
    process = begin_to_listen(live, tmp_path)
    interrupt(process)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == (b"", b"")
    assert process.returncode == 130


async def test_a_last_text_that_does_not_come_is_not_waited_for_without_end(held, monkeypatch, capsys):
    """The time limit begins with Ctrl-C."""
    live, _ = held
    n_before = len(live.model.calls)
    monkeypatch.setattr("asr_service.cli.listen.run._LAST_TEXT_TIMEOUT_S", 0.1)
    display = TurnDisplay(io.StringIO(), columns=0)
    backend = Service(live.url, None, None)
    listening = asyncio.create_task(listen(Listening(DATA / "en-wizard.flac", backend, None, None), display))
    await asyncio.to_thread(until, lambda: len(live.model.calls) > n_before, what="the first words")
    os.kill(os.getpid(), signal.SIGINT)
    assert await listening == 130
    assert "did not arrive within" in capsys.readouterr().err


def test_partial_text_is_grey_and_is_replaced_by_the_final_text():
    """Control characters of a text do not act on the terminal. A long text is cut to one line, at its beginning."""
    output = io.StringIO()
    display = TurnDisplay(output, columns=12)
    display.show(PartialText("a", "He"))
    display.show(PartialText("a", " began a confused"))
    display.show(FinalText("a", " He began\x1b[2J."))
    assert output.getvalue() == (
        "\r\x1b[K\x1b[90mHe\x1b[0m"
        "\r\x1b[K\x1b[90m…a confused\x1b[0m"
        "\r\x1b[KHe began\\x1b[2J.\n\r\x1b[K"
    )  # fmt: skip


def test_partial_texts_are_shown_in_the_order_of_the_speech():
    """The text of a turn may come before that of the turn that was spoken before."""
    output = io.StringIO()
    display = TurnDisplay(output, columns=40)
    for text in (TurnBegan("a"), TurnBegan("b"), PartialText("b", "Then rain."), PartialText("a", "Wind ")):
        display.show(text)
    assert output.getvalue().endswith("\r\x1b[K\x1b[90mWind Then rain.\x1b[0m")


def test_a_partial_text_fills_one_line_in_every_script():
    """A Chinese character takes two columns. A text that the terminal wraps could not be removed."""
    output = io.StringIO()
    display = TurnDisplay(output, columns=12)
    display.show(PartialText("a", "今天天气很好我们去公园"))
    assert output.getvalue() == "\r\x1b[K\x1b[90m…我们去公园\x1b[0m"


def test_an_output_that_cannot_be_written_ends_the_command(keyed, speech, tmp_path):
    """A reader that has ended needs no message."""
    read, write = os.pipe()
    os.close(read)
    command = ("listen", str(speech), "--server", keyed.url)
    with Path("/dev/full").open("wb") as full, os.fdopen(write, "wb") as unread:
        ends = []
        for output in (full, unread):
            process = begin(*command, cwd=tmp_path, env={"ASRSERVICE_API_KEY": KEY}, stdout=output)
            ends.append((process.communicate(timeout=60)[1].decode(), process.returncode))
    assert ends == [("asr-service: standard output: no space left on device\n", 1), ("", 1)]


def test_where_the_output_is_no_terminal_only_final_texts_are_printed():
    """A turn without text has no line."""
    output = io.StringIO()
    display = TurnDisplay(output, columns=0)
    for text in (PartialText("a", "He"), FinalText("a", "He began."), FinalText("b", " ")):
        display.show(text)
    display.close()
    assert output.getvalue() == "He began.\n"


class FakeStream:
    """A microphone that hears one piece as soon as it is opened."""

    opened: ClassVar[list["FakeStream"]] = []

    def __init__(self, *, callback: Callable[..., None], channels: int, **_: Any) -> None:
        self._hear = callback
        self._piece = np.full((160, channels), 0.5, np.float32)
        self.opened.append(self)

    def hear(self) -> None:
        self._hear(self._piece, 160, None, None)

    def __enter__(self) -> None:
        self.hear()

    def __exit__(self, *_: object) -> None:
        self._piece = self._piece[:0]


async def test_a_microphone_is_heard_until_it_is_stopped(monkeypatch):
    """What it had heard by then is not lost."""
    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(InputStream=FakeStream, PortAudioError=OSError))
    stopped = asyncio.get_running_loop().create_future()
    heard = microphone(stopped)
    samples = await anext(heard)
    assert samples.tolist() == [0.5] * 160
    FakeStream.opened[-1].hear()
    await asyncio.sleep(0)
    stopped.set_result(None)
    assert [len(piece) async for piece in heard] == [160]


async def test_a_missing_microphone_is_reported_with_what_to_do(monkeypatch):
    """The library is optional; a machine may also have no device."""

    def fail(**_: Any) -> None:
        raise OSError("Error querying device -1")

    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'asr-service\[microphone\]'"):
        await anext(microphone(asyncio.get_running_loop().create_future()))
    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(InputStream=fail, PortAudioError=OSError))
    with pytest.raises(ConfigurationError, match="cannot be opened: Error querying device -1"):
        await anext(microphone(asyncio.get_running_loop().create_future()))


@pytest.mark.parametrize("library", [None, "without a device"])
async def test_a_missing_microphone_is_reported_before_the_model_is_loaded(monkeypatch, capsys, library):
    """No model is downloaded before that, and the command does not say that it listens."""

    def fail(**_: Any) -> None:
        raise OSError("Error querying device -1")

    fake = SimpleNamespace(check_input_settings=fail, PortAudioError=OSError) if library else None
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    nothing_there = Service("http://127.0.0.1:1", None, None)
    with pytest.raises(ConfigurationError, match="microphone"):
        await listen(Listening(None, nothing_there, None, None), TurnDisplay(io.StringIO(), columns=0))
    assert capsys.readouterr().err == ""
