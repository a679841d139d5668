"""Prometheus across processes, by files named after the slot rather than after the process.

A slot's next worker goes on with the files of the last: counters never fall, and a scrape reads the same few files
after a thousand restarts. https://prometheus.github.io/client_python/multiprocess/
"""

import fcntl
import os
import sys
from pathlib import Path

from prometheus_client import multiprocess, values

from asr_service.errors import ConfigurationError

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_identity = "master"


def share_metrics(directory: Path) -> int:
    """Make the directory this service's own, and wipe it. Call before `asr_service.metrics` is first imported.

    Returns the descriptor of the lock, held until it is closed and inherited by the workers. Raises
    ConfigurationError: the directory cannot be written, or another service has it.
    """
    if "asr_service.metrics" in sys.modules:
        raise RuntimeError("asr_service.metrics was imported too early: its metrics are not shared between processes")
    lock = _lock(directory)
    for left_over in directory.glob("*.db"):
        left_over.unlink(missing_ok=True)
    os.environ[_VARIABLE] = str(directory)
    values.ValueClass = values.MultiProcessValue(lambda: _identity)  # type: ignore[no-untyped-call]
    return lock


def become_slot(index: int) -> None:
    """This process' values are the slot's from now on."""
    global _identity  # noqa: PLW0603  # as much the process' own as its pid, for which it stands
    _identity = slot_identity(index)


def forget_gauges(index: int) -> None:
    """The slot's worker has ended: what it measured is no longer so."""
    multiprocess.mark_process_dead(slot_identity(index))  # type: ignore[no-untyped-call]


def slot_identity(index: int) -> str:
    return f"slot-{index}"


def _lock(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        (directory / ".write-probe").touch()
        (directory / ".write-probe").unlink()
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            f"{directory} is in use by another asr-service, or by its workers that finish their last requests; wait "
            "for it to end, or give this one directories of its own: ASR_SOCKET_DIR, ASR_METRICS_DIR",
            param="ASR_METRICS_DIR",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"the metrics directory {directory} cannot be used: {error.strerror}; set ASR_METRICS_DIR",
            param="ASR_METRICS_DIR",
        ) from error
    return lock
