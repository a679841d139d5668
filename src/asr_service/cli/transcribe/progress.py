"""How far along `asr-service transcribe` is: a bar for each recording at work and one for all, on a terminal."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from asr_service.cli.transcribe.types import Job, Result, printable

_LEAST_ELAPSED_S: Final = 0.5
_ECHO_WIDTH: Final = 3


class Silence:
    """Where nobody watches."""

    def starts(self, job: Job) -> None: ...
    def hears(self, job: Job, until_s: float) -> None: ...
    def ends(self, job: Job, result: Result) -> None: ...
    def makes_way(self) -> None: ...


class Bars:
    """Bars in seconds of audio. A recording of unknown length has one that only shows that it is at work."""

    def __init__(self, jobs: Iterable[Job], console: Console) -> None:
        self._lengths_s: dict[Job, float | None] = dict.fromkeys(jobs)
        self._unmeasured = set(self._lengths_s)
        self._tasks: dict[Job, TaskID] = {}
        self._heard_s: dict[Job, float] = {}
        self._n_ended = 0
        # Letters in a name stay themselves: rich would read [red] as a colour.
        name = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True))
        self._progress = _InsetProgress(
            name,
            BarColumn(),
            _Share(),
            _Speed(),
            _TimeLeft(),
            console=console,
            transient=True,
            expand=True,
            redirect_stdout=False,
        )
        self._all = self._progress.add_task("", total=None, visible=len(self._lengths_s) > 1)
        self._show_all()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def measured(self, job: Job, length_s: float | None) -> None:
        """Take a recording's length, None where there is no telling."""
        self._unmeasured.discard(job)
        if job in self._lengths_s:
            self._lengths_s[job] = length_s
        if job in self._tasks:
            self._progress.update(self._tasks[job], total=length_s)
        self._show_all()

    def starts(self, job: Job) -> None:
        name = printable(job.source.name if job.source else job.name)
        self._tasks[job] = self._progress.add_task(name, total=self._lengths_s[job])

    def hears(self, job: Job, until_s: float) -> None:
        self._heard_s[job] = until_s
        self._progress.update(self._tasks[job], completed=until_s)
        self._show_all()

    def ends(self, job: Job, result: Result) -> None:
        self._progress.remove_task(self._tasks.pop(job))
        self._unmeasured.discard(job)
        self._n_ended += 1
        if result.audio_s is None:
            self._heard_s.pop(job, None)
            self._lengths_s[job] = None
        else:
            self._heard_s[job] = self._lengths_s[job] = result.audio_s
        self._show_all()

    def makes_way(self) -> None:
        """Vanish for good where the text that comes goes to the same terminal: it shows the progress as well."""
        if sys.stdout.isatty():
            self._progress.stop()

    def _show_all(self) -> None:
        total_s = None if self._unmeasured else sum(length_s or 0.0 for length_s in self._lengths_s.values())
        self._progress.update(
            self._all,
            description=f"{self._n_ended} of {len(self._lengths_s)} recordings",
            completed=sum(self._heard_s.values()),
            total=total_s,
        )


class _InsetProgress(Progress):
    """Leaves room at the right for the ^C that a terminal echoes: a line more, and the bars would not be wiped out."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield _Inset(self.make_tasks_table(self.tasks))


@dataclass(frozen=True, slots=True)
class _Inset:
    table: Table

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield Constrain(self.table, options.max_width - _ECHO_WIDTH)


class _Share(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:>3.0f} %" if task.total else "", style="progress.percentage")


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = _speed(task)
        return Text(f"{speed:.1f}x" if speed else "", style="progress.data.speed", justify="right")


class _TimeLeft(ProgressColumn):
    """At the mean speed so far: segments come in bursts, which rich's own estimate follows."""

    def render(self, task: Task) -> Text:
        speed = _speed(task)
        left = timedelta(seconds=round((task.remaining or 0.0) / speed)) if speed and task.total else None
        return Text(str(left or "-:--:--"), style="progress.remaining")


def _speed(task: Task) -> float:
    """Seconds of audio done in a second; 0 while there is no telling."""
    elapsed_s = task.elapsed or 0.0
    return task.completed / elapsed_s if elapsed_s >= _LEAST_ELAPSED_S else 0.0
