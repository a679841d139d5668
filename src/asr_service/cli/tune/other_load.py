"""Notices that other programs use the CPU during a measurement."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psutil
from rich.console import Console

_MAX_OTHER_SHARE: Final = 0.1
"""The share of the CPU's time that other programs may take during the measurement."""


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """The processor times of the machine at a moment, in seconds."""

    at_s: float
    """Monotonic."""
    busy_s: float
    """How long all cores have worked so far, for any program."""
    own_s: float
    """How long they have worked for this process."""

    @classmethod
    def now(cls) -> "CpuTimes":
        """Read the times."""
        times = psutil.cpu_times()
        busy_s = times.user + getattr(times, "nice", 0.0) + times.system + getattr(times, "steal", 0.0)
        return cls(time.monotonic(), busy_s, time.process_time())


class OtherLoad:
    """Measures the CPU time that other programs take, from its creation on."""

    def __init__(self, read: Callable[[], CpuTimes] = CpuTimes.now, n_cores: int | None = None) -> None:
        """Begin to measure. `n_cores` defaults to those of this machine."""
        self._read = read
        self._n_cores = n_cores or psutil.cpu_count() or 1
        self._began = read()
        self._has_warned = False

    @property
    def is_high(self) -> bool:
        """True if other programs have taken so much of the CPU that the measurement is not reliable."""
        now, began = self._read(), self._began
        others_s = (now.busy_s - began.busy_s) - (now.own_s - began.own_s)
        return others_s > _MAX_OTHER_SHARE * self._n_cores * (now.at_s - began.at_s)

    def warn(self, console: Console) -> None:
        """Print a warning the first time that the load is high: the measurement takes minutes."""
        if not self._has_warned and self.is_high:
            self._has_warned = True
            console.print(
                "Other programs use the CPU. If they continue, the measurement is not reliable and nothing is written."
            )
