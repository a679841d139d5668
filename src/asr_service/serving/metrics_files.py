"""Metrics of all worker processes, in files named after the slot and not after the process.

A slot's next worker continues with the files of the last one: counters never fall, and a scrape reads the same few
files after a thousand restarts. https://prometheus.github.io/client_python/multiprocess/

The disk space of all files is allocated when the service starts. Otherwise uploads could fill the disk, and the next
write to a file would end the process.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import values

from asr_service.errors import ConfigurationError
from asr_service.serving.allocated_dict import AllocatedDict, allocate

METRICS_FILES = ("*.db",)
"""Patterns of the files in the shared directory."""

FILES_OF_A_PROCESS: Final = ("counter", "histogram", "gauge_livemax", "gauge_livemin", "gauge_livesum")
"""The first part of the names of a process's files: each type and multiprocess mode in `asr_service.metrics`."""

_NO_ENTRIES: Final = bytes(4)
"""The first bytes of a file are the number of its bytes that are in use, as an integer."""
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_STANDBY: Final = "standby"
_identity = "master"


def share_metrics(directory: Path, n_slots: int) -> None:
    """Keep the metrics of this process and its children in `directory`, and allocate the space of all files.

    Raises ConfigurationError: the disk has no space for them.
    Raises RuntimeError: when `asr_service.metrics` was already imported.
    """
    if "asr_service.metrics" in sys.modules:
        raise RuntimeError("asr_service.metrics was imported too early: its metrics are not shared between processes")
    os.environ[_VARIABLE] = str(directory)
    values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]  # it is private
    values.ValueClass = values.MultiProcessValue(lambda: _identity)  # type: ignore[no-untyped-call]
    others = (_STANDBY,) if n_slots == 1 else ()
    try:
        for identity in (_identity, *others, *map(slot_identity, range(n_slots))):
            for prefix in FILES_OF_A_PROCESS:
                allocate(_file(directory, prefix, identity))
    except OSError as error:
        raise ConfigurationError(
            f"The files of the metrics in {directory} cannot be written: {error.strerror}. Free some disk space, or "
            "set ASR_METRICS_DIR to a directory on another disk.",
            param="ASR_METRICS_DIR",
        ) from error


def become_slot(index: int) -> None:
    """Write this process's metrics into the slot's files from now on."""
    global _identity  # noqa: PLW0603  # belongs to the process, like the pid that it replaces
    _identity = slot_identity(index)


def become_standby() -> None:
    """Write this process's metrics into the files of standby processes from now on.

    They have files of their own, because the end of one and the start of the next worker overlap.
    """
    global _identity  # noqa: PLW0603  # as above
    _identity = _STANDBY


def forget_gauges(index: int) -> None:
    """Empty the gauges' files of a slot whose worker has ended. They keep their disk space for the next worker."""
    for prefix in FILES_OF_A_PROCESS:
        if prefix.startswith("gauge_live"):
            file = _file(Path(os.environ[_VARIABLE]), prefix, slot_identity(index))
            with suppress(OSError), file.open("r+b") as gauges:
                gauges.write(_NO_ENTRIES)


def slot_identity(index: int) -> str:
    """Return the slot's name in file names."""
    return f"slot-{index}"


def _file(directory: Path, prefix: str, identity: str) -> Path:
    return directory / f"{prefix}_{identity}.db"
