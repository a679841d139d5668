"""Metrics of all worker processes, in files named after the slot and not after the process.

A slot's next worker continues with the files of the last one: counters never fall, and a scrape reads the same few
files after a thousand restarts. https://prometheus.github.io/client_python/multiprocess/
"""

import os
import sys
from pathlib import Path

from prometheus_client import multiprocess, values

METRICS_FILES = ("*.db",)
"""Patterns of the files in the shared directory."""

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_identity = "master"


def share_metrics(directory: Path) -> None:
    """Keep the metrics of this process and its children in `directory`.

    Raises RuntimeError: when `asr_service.metrics` was already imported.
    """
    if "asr_service.metrics" in sys.modules:
        raise RuntimeError("asr_service.metrics was imported too early: its metrics are not shared between processes")
    os.environ[_VARIABLE] = str(directory)
    values.ValueClass = values.MultiProcessValue(lambda: _identity)  # type: ignore[no-untyped-call]


def become_slot(index: int) -> None:
    """Write this process's metrics into the slot's files from now on."""
    global _identity  # noqa: PLW0603  # belongs to the process, like the pid that it replaces
    _identity = slot_identity(index)


def forget_gauges(index: int) -> None:
    """Drop the gauges of a slot whose worker has ended."""
    multiprocess.mark_process_dead(slot_identity(index))  # type: ignore[no-untyped-call]


def slot_identity(index: int) -> str:
    """Return the slot's name in file names."""
    return f"slot-{index}"
