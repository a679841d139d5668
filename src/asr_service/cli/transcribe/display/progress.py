"""Show the progress of `asr-service transcribe` on a terminal: a line for each running recording and one for all."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from asr_service.cli.terminal import printable
from asr_service.cli.transcribe.types import FileResult, FileTask

_MIN_ELAPSED_S: Final = 0.5
_ECHO_WIDTH: Final = 3


class ProgressDisplay(Protocol):
    """Is informed about the progress of every task."""

    def start(self, task: FileTask) -> None: ...
    def resume(self, task: FileTask, audio_s: float) -> None:
        """Report that an earlier run has transcribed a task up to `audio_s` seconds."""

    def advance(self, task: FileTask, audio_s: float) -> None:
        """Report that a task is transcribed up to `audio_s` seconds. It may report less after a retry."""

    def finish(self, task: FileTask, result: FileResult) -> None: ...
    def make_way(self) -> None:
        """Report that text is about to be written to standard output."""


class NoProgress:
    """Shows nothing."""

    def start(self, task: FileTask) -> None: ...
    def resume(self, task: FileTask, audio_s: float) -> None: ...
    def advance(self, task: FileTask, audio_s: float) -> None: ...
    def finish(self, task: FileTask, result: FileResult) -> None: ...
    def make_way(self) -> None: ...


class ProgressLines:
    """Shows the audio done, the length where it is known, and the speed.

    The last line is the sum of all recordings. It has a percentage when the length of every recording is known. No
    number goes down.
    """

    def __init__(self, n_tasks: int, console: Console) -> None:
        self._n_tasks = n_tasks
        self._task_ids: dict[FileTask, TaskID] = {}
        self._audio_s: dict[FileTask, float] = {}
        self._earlier_s: dict[FileTask, float] = {}
        self._length_s: dict[FileTask, float | None] = {}
        """As far as they were measured; None is unknown."""
        self._n_finished = 0
        # markup=False: rich would read [red] in a file name as a colour.
        name = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True))
        self._progress = _InsetProgress(
            name,
            BarColumn(),
            _Percentage(),
            _AudioDone(),
            _Speed(),
            console=console,
            transient=True,
            expand=True,
            redirect_stdout=False,
        )
        self._all = self._progress.add_task("", total=None, visible=n_tasks > 1, audio_s=0.0, earlier_s=0.0)
        self._update_all()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def set_length(self, task: FileTask, length_s: float | None) -> None:
        """Set the length of a recording, None if it cannot be known before its end. Call it once for each task."""
        if task not in self._length_s:  # it is finished already
            self._length_s[task] = length_s
        if task in self._task_ids:
            self._progress.update(self._task_ids[task], total=length_s)
        self._update_all()

    def start(self, task: FileTask) -> None:
        name = printable(task.source.name if task.source else task.name)
        self._audio_s[task] = 0.0
        total = self._length_s.get(task)
        self._task_ids[task] = self._progress.add_task(name, total=total, audio_s=0.0, earlier_s=0.0)

    def resume(self, task: FileTask, audio_s: float) -> None:
        self._earlier_s[task] = audio_s
        self._progress.update(self._task_ids[task], earlier_s=audio_s)
        self.advance(task, audio_s)

    def advance(self, task: FileTask, audio_s: float) -> None:
        self._audio_s[task] = audio_s = max(self._audio_s[task], audio_s)
        self._progress.update(self._task_ids[task], audio_s=audio_s, completed=audio_s)
        self._update_all()

    def finish(self, task: FileTask, result: FileResult) -> None:
        self._progress.remove_task(self._task_ids.pop(task))
        self._n_finished += 1
        length_s = result.audio_s or self._length_s.get(task) or 0.0
        self._audio_s[task] = max(self._audio_s[task], length_s)
        self._length_s[task] = self._audio_s[task]
        self._update_all()

    def make_way(self) -> None:
        """Stop for good if the text goes to the same terminal: the text shows the progress as well."""
        if sys.stdout.isatty():
            self._progress.stop()

    def _update_all(self) -> None:
        total_s = None
        if len(self._length_s) == self._n_tasks:
            lengths = [max(length, self._audio_s.get(task, 0.0)) for task, length in self._length_s.items() if length]
            total_s = sum(lengths) if None not in self._length_s.values() else None
        audio_s = sum(self._audio_s.values())
        self._progress.update(
            self._all,
            description=f"{self._n_finished} of {self._n_tasks} recordings",
            total=total_s,
            completed=audio_s,
            audio_s=audio_s,
            earlier_s=sum(self._earlier_s.values()),
        )


class _InsetProgress(Progress):
    """Leaves the right margin free for the ^C that a terminal echoes. A wrapped line would not be erased."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield _Inset(self.make_tasks_table(self.tasks))


@dataclass(frozen=True, slots=True)
class _Inset:
    table: Table

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield Constrain(self.table, options.max_width - _ECHO_WIDTH)


class _Percentage(ProgressColumn):
    """The highest percentage so far: a length may turn out to be longer than its header says."""

    def __init__(self) -> None:
        super().__init__()
        self._highest: dict[TaskID, int] = {}

    def render(self, task: Task) -> Text:
        if not task.total:
            return Text("")
        highest = self._highest[task.id] = max(self._highest.get(task.id, 0), int(task.percentage))
        return Text(f"{highest:>3} %", style="progress.percentage")


class _AudioDone(ProgressColumn):
    def render(self, task: Task) -> Text:
        done = timedelta(seconds=int(task.fields["audio_s"]))
        total = f" of {timedelta(seconds=int(max(task.total, task.fields['audio_s'])))}" if task.total else " of audio"
        return Text(f"{done}{total}", style="progress.elapsed")


class _Speed(ProgressColumn):
    """Mean speed so far, in seconds of audio per second."""

    def render(self, task: Task) -> Text:
        elapsed_s = task.elapsed or 0.0
        audio_s = task.fields["audio_s"] - task.fields["earlier_s"]
        speed = audio_s / elapsed_s if elapsed_s >= _MIN_ELAPSED_S else 0.0
        return Text(f"{speed:.1f}x" if speed else "", style="progress.data.speed", justify="right")
