"""Describe the machine, and measure how much of its CPU time other processes use."""

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

_REPORTED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_QUIET_CORES = 0.25
_SAMPLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Watch:
    """CPU time at the start of a measurement. Create it with `start`; read it with `others_cores`."""

    began: float
    busy_s: float
    own_s: float

    @classmethod
    def start(cls) -> "Watch":
        return cls(time.monotonic(), _busy_s(), _own_s())

    def others_cores(self) -> float:
        """Return how many cores other processes, and other guests of the host, have used on average since the start."""
        wall_s = max(time.monotonic() - self.began, 1e-3)
        return max(0.0, ((_busy_s() - self.busy_s) - (_own_s() - self.own_s)) / wall_s)


def wait_for_quiet(patience_s: float) -> None:
    """Wait until other processes use less than a quarter of a core, for at most `patience_s`."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        watch = Watch.start()
        time.sleep(_SAMPLE_S)
        if watch.others_cores() < _QUIET_CORES:
            return


def machine() -> dict[str, str]:
    """Describe the machine and the installed versions, for the head of a report."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} cores, {_cpu_name()}, {psutil.virtual_memory().total / 1024**3:.0f} GiB",
        "CPU flags": " ".join(flag for flag in _REPORTED_FLAGS if flag in _cpuinfo("flags").split()) or "none of note",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("faster-whisper", "ctranslate2", "asr-service")),
    }


def _busy_s() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[:8]) - idle)  # the remaining fields count guests, which the first eight include


def _own_s() -> float:
    """Return the CPU seconds of this process and its descendants, including ended ones that were waited for."""
    this = psutil.Process()
    return sum(_cpu_s(process) for process in [this, *this.children(recursive=True)])


def _cpu_s(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))  # user and system time, and the same of children waited for
    except psutil.NoSuchProcess:
        return 0.0


def _cpu_name() -> str:
    return f"{_cpuinfo('model name') or platform.machine()}, family {_cpuinfo('cpu family')} model {_cpuinfo('model')}"


def _cpuinfo(name: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.split(":", maxsplit=1) for line in lines if ":" in line)
    return next((value.strip() for key, value in pairs if key.strip() == name), "")
