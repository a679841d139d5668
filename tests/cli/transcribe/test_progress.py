"""The progress lines of `asr-service transcribe`."""

import asyncio
import io
import os
import time
from pathlib import Path

from rich.console import Console

from asr_service.cli.transcribe.display.progress import ProgressLines
from asr_service.cli.transcribe.lengths import measure_lengths
from asr_service.cli.transcribe.types import FileResult, FileTask
from decoder import media

A, B = (FileTask(Path(f"{name}.wav"), ()) for name in "ab")


def shown(lines: ProgressLines) -> list[list[str]]:
    """Return the words of each line, without the bars."""
    console = Console(file=io.StringIO(), width=100, force_terminal=False, color_system=None)
    console.print(lines._progress.get_renderable())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    return [[word for word in line.split() if word[0] not in "━╸╺"] for line in text.splitlines()]


def test_the_total_is_seconds_of_audio(tmp_path):
    """It appears when the length of every recording is known. A wrong length in a header lowers no percentage."""
    lines = ProgressLines(2, Console(file=io.StringIO()))
    lines.start(A)
    lines.set_length(A, 60.0)
    lines.advance(A, 30.0)
    total, first = shown(lines)
    assert total[-4:] == ["recordings", "0:00:30", "of", "audio"]
    assert first == ["a.wav", "50", "%", "0:00:30", "of", "0:01:00"]
    lines.set_length(B, 140.0)
    assert shown(lines)[0][-5:] == ["15", "%", "0:00:30", "of", "0:03:20"]
    lines.advance(A, 90.0)
    assert shown(lines)[1] == ["a.wav", "100", "%", "0:01:30", "of", "0:01:30"]
    lines.finish(A, FileResult("a.wav", "done", audio_s=360.0))
    assert shown(lines)[0][-5:] == ["72", "%", "0:06:00", "of", "0:08:20"]
    lines.start(B)
    lines.finish(B, FileResult("b.wav", "failed", error="broken"))
    assert shown(lines)[0][-5:] == ["100", "%", "0:08:20", "of", "0:08:20"]


def test_a_recording_of_unknown_length_has_no_percentage():
    """The total gets one again when that recording is finished."""
    lines = ProgressLines(2, Console(file=io.StringIO()))
    lines.set_length(A, None)
    lines.set_length(B, 10.0)
    lines.start(A)
    lines.advance(A, 30.0)
    assert [line[-3:] for line in shown(lines)] == [["0:00:30", "of", "audio"]] * 2
    lines.finish(A, FileResult("a.wav", "done", audio_s=30.0))
    assert shown(lines)[0][-5:] == ["75", "%", "0:00:30", "of", "0:00:40"]


def test_what_an_earlier_run_has_done_counts_as_done_but_not_as_speed():
    """A resumed recording starts at its old percentage."""
    lines = ProgressLines(1, Console(file=io.StringIO()))
    lines.set_length(A, 100.0)
    lines.start(A)
    lines.resume(A, 80.0)
    assert shown(lines) == [["a.wav", "80", "%", "0:01:20", "of", "0:01:40"]]
    time.sleep(0.6)
    assert shown(lines) == [["a.wav", "80", "%", "0:01:20", "of", "0:01:40"]]


def test_lengths_are_read_from_headers(tmp_path):
    """A file without audio and a pipe have an unknown length."""
    (tmp_path / "a.wav").write_bytes(media.wav(media.warble(3)))
    (tmp_path / "b.mp3").write_bytes(b"no audio")
    os.mkfifo(tmp_path / "c.wav")
    tasks = [FileTask(path, ()) for path in sorted(tmp_path.iterdir())] + [FileTask(None, ())]
    lengths: dict[str, float | None] = {}
    asyncio.run(measure_lengths(tasks, lambda task, length: lengths.update({Path(task.name).name: length})))
    assert lengths == {"a.wav": 3.0, "b.mp3": None, "c.wav": None, "-": None}


def test_no_number_goes_down():
    """A retry that starts a recording again, and a recording that fails, leave the seconds that were shown."""
    lines = ProgressLines(2, Console(file=io.StringIO()))
    lines.start(A)
    lines.start(B)
    lines.advance(A, 70.0)
    lines.advance(A, 10.0)
    lines.advance(B, 5.0)
    assert [line[-3] for line in shown(lines)] == ["0:01:15", "0:01:10", "0:00:05"]
    lines.finish(A, FileResult("a.wav", "failed", error="broken"))
    lines.finish(B, FileResult("b.wav", "done", audio_s=8.0))
    assert shown(lines) == [["2", "of", "2", "recordings", "100", "%", "0:01:18", "of", "0:01:18"]]


def test_a_single_recording_has_one_line():
    """The count of recordings is shown only if there are several."""
    lines = ProgressLines(1, Console(file=io.StringIO()))
    lines.start(A)
    assert shown(lines) == [["a.wav", "0:00:00", "of", "audio"]]
