"""Show the progress of `asr-service transcribe` on a terminal: a line for each recording in work and one for all."""

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

from asr_service.cli.transcribe.display.terminal import printable
from asr_service.cli.transcribe.types import FileResult, FileTask

_MIN_ELAPSED_S: Final = 0.5
_ECHO_WIDTH: Final = 3


class ProgressDisplay(Protocol):
    """Is informed about the progress of every task."""

    def start(self, task: FileTask) -> None: ...
    def advance(self, task: FileTask, audio_s: float) -> None:
        """Report that a task is transcribed up to `audio_s` seconds. It may report less after a retry."""

    def finish(self, task: FileTask, result: FileResult) -> None: ...
    def make_way(self) -> None:
        """Report that text is about to be written to standard output."""


class NoProgress:
    """Shows nothing."""

    def start(self, task: FileTask) -> None: ...
    def advance(self, task: FileTask, audio_s: float) -> None: ...
    def finish(self, task: FileTask, result: FileResult) -> None: ...
    def make_way(self) -> None: ...


class ProgressLines:
    """Shows seconds of audio done and the speed.

    The length of a recording is not known before its end, so a recording has no percentage. The last line counts
    finished recordings. No number goes down.
    """

    def __init__(self, n_tasks: int, console: Console) -> None:
        self._n_tasks = n_tasks
        self._task_ids: dict[FileTask, TaskID] = {}
        self._audio_s: dict[FileTask, float] = {}
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
        self._all = self._progress.add_task("", total=n_tasks, visible=n_tasks > 1, audio_s=0.0)
        self._update_all()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, task: FileTask) -> None:
        name = printable(task.source.name if task.source else task.name)
        self._audio_s[task] = 0.0
        self._task_ids[task] = self._progress.add_task(name, total=None, audio_s=0.0)

    def advance(self, task: FileTask, audio_s: float) -> None:
        self._audio_s[task] = max(self._audio_s[task], audio_s)
        self._progress.update(self._task_ids[task], audio_s=self._audio_s[task])
        self._update_all()

    def finish(self, task: FileTask, result: FileResult) -> None:
        self._progress.remove_task(self._task_ids.pop(task))
        self._n_finished += 1
        self._audio_s[task] = max(self._audio_s[task], result.audio_s or 0.0)
        self._update_all()

    def make_way(self) -> None:
        """Stop for good if the text goes to the same terminal: the text shows the progress as well."""
        if sys.stdout.isatty():
            self._progress.stop()

    def _update_all(self) -> None:
        self._progress.update(
            self._all,
            description=f"{self._n_finished} of {self._n_tasks} recordings",
            completed=self._n_finished,
            audio_s=sum(self._audio_s.values()),
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
    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:>3.0f} %" if task.total else "", style="progress.percentage")


class _AudioDone(ProgressColumn):
    def render(self, task: Task) -> Text:
        done = timedelta(seconds=int(task.fields["audio_s"]))
        return Text(f"{done} of audio", style="progress.elapsed")


class _Speed(ProgressColumn):
    """Mean speed so far, in seconds of audio per second."""

    def render(self, task: Task) -> Text:
        elapsed_s = task.elapsed or 0.0
        speed = task.fields["audio_s"] / elapsed_s if elapsed_s >= _MIN_ELAPSED_S else 0.0
        return Text(f"{speed:.1f}x" if speed else "", style="progress.data.speed", justify="right")
