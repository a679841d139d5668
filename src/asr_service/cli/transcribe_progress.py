"""How far along `asr-service transcribe` is: a bar for each recording at work and one for all, on a terminal."""

from collections.abc import Iterable
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from asr_service.cli.transcribe_terms import Job, Result, printable

_LEAST_ELAPSED_S: Final = 0.5


class Silence:
    """Where nobody watches."""

    def starts(self, job: Job) -> None: ...
    def hears(self, job: Job, until_s: float) -> None: ...
    def ends(self, job: Job, result: Result) -> None: ...


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
        self._progress = Progress(
            name, BarColumn(), _Share(), _Speed(), TimeRemainingColumn(), console=console, transient=True, expand=True
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

    def _show_all(self) -> None:
        total_s = None if self._unmeasured else sum(length_s or 0.0 for length_s in self._lengths_s.values())
        self._progress.update(
            self._all,
            description=f"{self._n_ended} of {len(self._lengths_s)} recordings",
            completed=sum(self._heard_s.values()),
            total=total_s,
        )


class _Share(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:>3.0f} %" if task.total else "", style="progress.percentage")


class _Speed(ProgressColumn):
    """Seconds of audio done in a second."""

    def render(self, task: Task) -> Text:
        elapsed_s = task.elapsed or 0.0
        known = elapsed_s >= _LEAST_ELAPSED_S and task.completed > 0
        return Text(f"{task.completed / elapsed_s:.1f}x" if known else "", style="progress.data.speed", justify="right")
