"""An interrupted recording goes on from its last segment."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path

import pytest

from api.live import tone
from asr_service.cli.transcribe.display.progress import NoProgress
from asr_service.cli.transcribe.files.outputs import Renderer
from asr_service.cli.transcribe.files.partial import open_journal
from asr_service.cli.transcribe.local import local_recognizer
from asr_service.cli.transcribe.types import FileResult, FileTask, Output
from asr_service.cli.transcribe.workers import transcribe_files
from asr_service.formats import FILE_FORMATS, SubtitleStyle
from asr_service.hardware.devices import Device
from asr_service.settings import load_settings
from asr_service.transcript import Segment
from fakes import Call, FakeModel, writing

FIELDS = {"vad_filter": "false"}
RENDERER = Renderer(SubtitleStyle(), words_in_json=False)


def segment(number: int, text: str = " hello") -> Segment:
    return Segment(number, number, number + 1.0, text, (1,), -0.1, 0.1, 1.0, 0.0, "en", None, float(number))


class Run:
    """Runs of one command on one recording, which may be stopped in the model's nth call for text."""

    def __init__(self, task: FileTask) -> None:
        self.task = task
        self.results: list[FileResult] = []
        self.notes: list[str] = []

    def __call__(self, *, stop_at: int | None = None, language: str = "en") -> int:
        """Return how often the model was called for text."""
        model = FakeModel(writing(" hello", until_s=20.0), language=language)
        stopped = threading.Event()

        def before(call: Call) -> None:
            if call.stage == "generate" and stop_at is not None and len(model.calls_of("generate")) > stop_at:
                stopped.set()
                threading.Event().wait(0.5)

        model.before = before
        asyncio.run(self._run(model, stopped if stop_at is not None else None))
        return len(model.calls_of("generate"))

    async def _run(self, model: FakeModel, stopped: threading.Event | None) -> None:
        settings = load_settings({}, model_threads=1, decode_batch=1)
        async with local_recognizer(FIELDS, settings, Device("cpu"), lambda *_: model) as recognizer:
            model.calls.clear()  # of the warm-up
            run = asyncio.create_task(
                transcribe_files(
                    [self.task],
                    recognizer,
                    RENDERER,
                    NoProgress(),
                    self.results.append,
                    self.notes.append,
                    n_concurrent=1,
                )
            )
            if stopped is None:
                await run
            else:
                assert await asyncio.to_thread(stopped.wait, 30)
                await asyncio.sleep(0.1)  # the segments before it arrive
                run.cancel()
                await asyncio.wait([run])


def partials(folder: Path) -> list[Path]:
    return sorted(folder.glob(".asr-*.partial"))


def test_the_same_command_goes_on_within_a_recording(tmp_path, monkeypatch):
    """The rest is transcribed, the output is that of a whole run, and the journal is gone. A printed text too."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "long.wav").write_bytes(tone(150))
    json_format = FILE_FORMATS["json"]
    whole = Run(FileTask(tmp_path / "long.wav", (Output(json_format, tmp_path / "whole.json"),)))
    n_whole = whole()
    expected = json.loads((tmp_path / "whole.json").read_text()) | {"timing": 0}
    for name, folder in (("out.json", tmp_path), (None, tmp_path / "state" / "asr-service")):
        path = tmp_path / name if name else None
        run = Run(FileTask(tmp_path / "long.wav", (Output(json_format, path),)))
        run(stop_at=28)
        assert len(partials(folder)) == 1
        assert run() < n_whole - 2
        assert partials(folder) == []
        assert run.notes[0].startswith(f"{tmp_path}/long.wav: goes on at 0:0")
        assert [result.status for result in run.results] == ["done"]
        assert run.results[0].earlier_s > 20
        if path is not None:
            assert json.loads(path.read_text()) | {"timing": 0} == expected


def test_a_changed_recording_starts_again(tmp_path):
    """Its journal does not fit, and is removed with the finished recording."""
    (tmp_path / "long.wav").write_bytes(tone(100))
    run = Run(FileTask(tmp_path / "long.wav", (Output(FILE_FORMATS["txt"], tmp_path / "long.txt"),)))
    run(stop_at=6)
    assert len(partials(tmp_path)) == 1
    (tmp_path / "long.wav").write_bytes(tone(110))
    n_calls = run()
    assert run.notes == []
    assert n_calls == run()
    assert partials(tmp_path) == []


def task_for(path: Path) -> FileTask:
    path.write_bytes(b"sound")
    return FileTask(path, (Output(FILE_FORMATS["txt"], path.with_suffix(".txt")),))


def keep(task: FileTask, *segments: Segment, key: str | None = "key") -> tuple[Segment, ...]:
    """Open a journal, add segments as a run that is then killed, and return those that were there."""
    assert task.source is not None
    with task.source.open("rb") as file, open_journal(task, file, key) as journal:
        for each in segments:
            journal.add(each)
        return journal.earlier


def test_a_journal_has_each_segment_once(tmp_path):
    """A run that goes on adds the last segments again. A line that a kill left incomplete does no harm."""
    task = task_for(tmp_path / "a.wav")
    assert keep(task, segment(0), segment(1), segment(2)) == ()
    with partials(tmp_path)[0].open("ab") as file:
        file.write(b'\n{"version": 1, "segm')
    assert keep(task, segment(1, "new"), segment(2, "new")) == (segment(0), segment(1), segment(2))
    assert keep(task) == (segment(0), segment(1, "new"), segment(2, "new"))
    assert keep(task, segment(9)) == (segment(0), segment(1, "new"), segment(2, "new"))
    assert keep(task) == (segment(0), segment(1, "new"), segment(2, "new"))


def test_a_journal_fits_only_its_recording_and_options(tmp_path):
    """Another key, name, size or time has another journal. Without a key there is none."""
    task = task_for(tmp_path / "a.wav")
    keep(task, segment(0))
    assert keep(task, key="other") == ()
    assert keep(task_for(tmp_path / "b.wav")) == ()
    os.utime(tmp_path / "a.wav", (1, 1))
    assert keep(task) == ()
    assert keep(task, segment(0), key=None) == keep(task, key=None) == ()
    assert len(partials(tmp_path)) == 1


@pytest.mark.parametrize("failure", ["a full disk", "no permission"])
def test_a_journal_that_cannot_be_written_is_given_up(failure, tmp_path, monkeypatch):
    """The transcript does not depend on it."""

    def refuse(*_: object) -> int:
        raise OSError(failure)

    monkeypatch.setattr(os, "write" if failure == "a full disk" else "open", refuse)
    assert keep(task_for(tmp_path / "a.wav"), segment(0), segment(1)) == ()


def test_the_state_folder_forgets_old_journals(tmp_path, monkeypatch):
    """A journal that no run has continued for a month is removed. Without a home directory nothing is kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "a.wav").write_bytes(b"sound")
    task = FileTask(tmp_path / "a.wav", (Output(FILE_FORMATS["txt"], None),))
    keep(task, segment(0))
    folder = tmp_path / "state" / "asr-service"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert keep(task) == (segment(0),)
    month_ago = time.time() - 31 * 24 * 3600
    os.utime(partials(folder)[0], (month_ago, month_ago))
    assert keep(task) == ()
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    assert keep(task, segment(0)) == keep(task) == ()
