"""The progress lines of `asr-service transcribe`."""

import io
from pathlib import Path

from rich.console import Console

from asr_service.cli.transcribe.display.progress import ProgressLines
from asr_service.cli.transcribe.types import FileResult, FileTask

A, B = (FileTask(Path(f"{name}.wav"), ()) for name in "ab")


def shown(lines: ProgressLines) -> list[list[str]]:
    """Return the words of each line, without the bars."""
    console = Console(file=io.StringIO(), width=100, force_terminal=False, color_system=None)
    console.print(lines._progress.get_renderable())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    return [[word for word in line.split() if word[0] not in "━╸╺"] for line in text.splitlines()]


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
    assert shown(lines) == [["2", "of", "2", "recordings", "100", "%", "0:01:18", "of", "audio"]]


def test_a_single_recording_has_one_line():
    """The count of recordings is shown only if there are several."""
    lines = ProgressLines(1, Console(file=io.StringIO()))
    lines.start(A)
    assert shown(lines) == [["a.wav", "0:00:00", "of", "audio"]]
