"""Shows the progress of a model's download: bars on a terminal, log lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from asr_service.models.progress import OnProgress, log_progress


@contextmanager
def download_progress() -> Iterator[OnProgress]:
    """Yield the report for `ensure_model`. On a terminal the bars appear with the first byte."""
    if not sys.stderr.isatty():
        yield log_progress()
        return
    bars = _progress()
    try:
        yield _to_bars(bars)
    finally:
        bars.stop()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _to_bars(bars: Progress) -> OnProgress:
    tasks: dict[str, TaskID] = {}

    def report(name: str, done_bytes: int, total_bytes: int) -> None:
        bars.start()
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total_bytes)
        bars.update(tasks[name], completed=done_bytes, total=total_bytes)

    return report
