"""Plan the work of one command: which recordings are transcribed and which files are written.

Reads the file system and changes nothing.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_service.cli.transcribe.files.history import History, Options
from asr_service.cli.transcribe.files.recordings import SUFFIXES, FoundRecording, RecordingSearch
from asr_service.cli.transcribe.types import FileResult, FileTask, Output
from asr_service.formats import Format


class OutputConflict(Exception):
    """Two recordings would be written to one file. The message names them."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Which formats are written, and where."""

    formats: tuple[Format, ...]
    folder: Path | None = None
    """Folder of the outputs. None: each output is in the folder of its recording."""
    to_stdout: bool = False
    overwrite: bool = False

    @property
    def has_subtitles(self) -> bool:
        return any(fmt.styled is not None for fmt in self.formats)


@dataclass(frozen=True, slots=True)
class TranscribePlan:
    """What one command does."""

    tasks: tuple[FileTask, ...]
    known_results: tuple[FileResult, ...]
    """Results that need no transcription: up to date, refused, ignored, or not found."""
    n_other_options: int = 0
    """How many recordings are transcribed again because their outputs were written with other options."""


def make_plan(
    names: Iterable[str], options: OutputOptions, options_of: Callable[[Format], Options] = lambda _: {}
) -> TranscribePlan:
    """Find the recordings and their outputs, and set aside those that are up to date.

    An output is up to date if it is newer than its recording and was made with the same options (`options_of` its
    format). If it was made with other options and changed since, the recording is refused. If there is no record of its
    options, its time decides alone.

    Raises OutputConflict: two recordings have the same output.
    """
    search = RecordingSearch()
    for name in names:
        search.add(name)
    tasks = _tasks(search.recordings, options)
    _check_conflicts(tasks)
    if options.overwrite:
        return TranscribePlan(tuple(tasks), tuple(search.results))
    return _without_finished(tasks, search.results, options_of)


def _without_finished(
    tasks: Sequence[FileTask], results: Sequence[FileResult], options_of: Callable[[Format], Options]
) -> TranscribePlan:
    history = History()
    rest: list[FileTask] = []
    known = list(results)
    n_other_options = 0
    for task in tasks:
        states = {output: _state(task, output, history, options_of) for output in task.outputs}
        changed = [str(output.path) for output, state in states.items() if state == "changed"]
        needed = tuple(output for output, state in states.items() if state != "done")
        if changed:
            error = f"{', '.join(changed)}: written with other options and changed since. --overwrite replaces it."
            known.append(FileResult(task.name, "failed", error=error))
        elif needed:
            rest.append(FileTask(task.source, needed))
            n_other_options += "other" in states.values()
        else:
            known.append(FileResult(task.name, "skipped", task.output_paths))
    return TranscribePlan(tuple(rest), tuple(known), n_other_options)


def _tasks(recordings: Sequence[FoundRecording], options: OutputOptions) -> list[FileTask]:
    stems = _Stems(each.path for each in recordings if each.path is not None)
    return [FileTask(each.path, tuple(_outputs(each, options, stems))) for each in recordings]


def _outputs(recording: FoundRecording, options: OutputOptions, stems: "_Stems") -> Iterator[Output]:
    for fmt in options.formats:
        if options.to_stdout:
            yield Output(fmt, None)
            continue
        folder = _output_folder(recording, options.folder)
        keeps_suffix = recording.path is None or stems.is_shared(recording.path)
        stem = recording.relative.name if keeps_suffix else recording.relative.stem
        yield Output(fmt, folder / f"{stem}.{fmt.suffix}")


def _output_folder(recording: FoundRecording, folder: Path | None) -> Path:
    if folder is not None:
        return folder / recording.relative.parent
    return Path() if recording.path is None else recording.path.parent


class _Stems:
    """Finds recordings that differ only by suffix, such as talk.mp3 and talk.wav in one folder.

    Files in the folder count even if the command does not name them: the output's name is the same on every run.
    """

    def __init__(self, named: Iterable[Path]) -> None:
        self._named = Counter((path.parent, path.stem) for path in named if path.suffix.lower() not in SUFFIXES)
        self._by_folder: dict[Path, Counter[str]] = {}

    def is_shared(self, path: Path) -> bool:
        return self._named[path.parent, path.stem] + self._in(path.parent)[path.stem] > 1

    def _in(self, folder: Path) -> Counter[str]:
        if folder not in self._by_folder:
            try:
                names = [Path(name) for name in os.listdir(folder)]  # noqa: PTH208 - only the names are needed
            except OSError:  # a folder may be readable file by file and not listable
                names = []
            self._by_folder[folder] = Counter(name.stem for name in names if name.suffix.lower() in SUFFIXES)
        return self._by_folder[folder]


def _check_conflicts(tasks: Iterable[FileTask]) -> None:
    writers: dict[str, FileTask] = {}
    for task in tasks:
        for path in task.output_paths:
            other = writers.setdefault(os.path.abspath(path), task)  # noqa: PTH100 - resolve() would follow links
            if other is not task:
                raise OutputConflict(
                    f"{other.name} and {task.name} would both be written to {path}. Name the folder above them, whose"
                    " tree is kept, or transcribe them into different --output-dirs."
                )


def _state(
    task: FileTask, output: Output, history: History, options_of: Callable[[Format], Options]
) -> Literal["missing", "other", "changed", "done"]:
    """Return whether an output must be written. Its time is compared as `make` does it."""
    if task.source is None or output.path is None:
        return "missing"
    try:
        source, made = task.source.stat(), output.path.stat()
    except OSError:
        return "missing"
    if not (stat.S_ISREG(source.st_mode) and stat.S_ISREG(made.st_mode)):
        return "missing"
    if made.st_mtime_ns < source.st_mtime_ns or _is_stdout(made):
        return "missing"
    origin = history.origin(output.path, made, options_of(output.fmt))
    return "done" if origin == "same" or origin == "unknown" else origin  # noqa: PLR1714 - mypy follows only this form


def _is_stdout(output: os.stat_result) -> bool:
    """Return True for a file that the shell has just created: `asr-service transcribe talk.mp3 -f srt > talk.srt`."""
    try:
        return os.path.samestat(output, os.fstat(1))
    except OSError:  # standard output is closed
        return False
