"""Progress of a download."""

from collections.abc import Callable
from typing import Final

import structlog

_N_STEPS: Final = 10

OnProgress = Callable[[str, int, int], None]
"""Called during a download: file name, bytes on the disk, bytes in total."""


class FetchFailed(Exception):
    """The hub did not deliver the model. The message says what was tried."""


def log_progress() -> OnProgress:
    """Return a report that logs a line for each tenth of a file."""
    log = structlog.get_logger(__name__)
    logged: dict[str, int] = {}

    def report(name: str, done_bytes: int, total_bytes: int) -> None:
        step = done_bytes * _N_STEPS // max(total_bytes, 1)
        if step > logged.get(name, -1):
            logged[name] = step
            log.info("downloading the model", file=name, done_bytes=done_bytes, total_bytes=total_bytes)

    return report
