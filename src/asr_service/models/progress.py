"""How a fetch shows itself: a bar on a terminal, a line in the log at each tenth elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
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

_TENTHS: Final = 10

Report = Callable[[str, int, int], None]
"""Called with a file's name, the bytes there are and the bytes there will be."""


class FetchFailed(Exception):
    """The hub did not give the model; the message says what was tried."""


@contextmanager
def shown_progress() -> Iterator[Report]:
    """Give the function that `ensure_model` reports to."""
    if sys.stderr.isatty():
        with _bars() as bars:
            yield _to_bars(bars)
    else:
        yield _to_log()


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _to_bars(bars: Progress) -> Report:
    tasks: dict[str, TaskID] = {}

    def report(name: str, done_bytes: int, total_bytes: int) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total_bytes)
        bars.update(tasks[name], completed=done_bytes, total=total_bytes)

    return report


def _to_log() -> Report:
    log = structlog.get_logger(__name__)
    said: dict[str, int] = {}

    def report(name: str, done_bytes: int, total_bytes: int) -> None:
        tenths = done_bytes * _TENTHS // max(total_bytes, 1)
        if tenths > said.get(name, -1):
            said[name] = tenths
            log.info("fetching the model", file=name, done_bytes=done_bytes, total_bytes=total_bytes)

    return report
