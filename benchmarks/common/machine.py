"""The machine under a measurement: what it is, and how much of it others took meanwhile."""

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_QUIET_CORES = 0.25
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Watch:
    """Begun before a measurement, read after it."""

    began: float
    busy_s: float
    own_s: float

    @classmethod
    def start(cls) -> "Watch":
        return cls(time.monotonic(), _busy_s(), _own_s())

    def others_cores(self) -> float:
        """Cores that processes which are not ours, and other guests of the host, were using on average since."""
        wall_s = max(time.monotonic() - self.began, 1e-3)
        return max(0.0, ((_busy_s() - self.busy_s) - (_own_s() - self.own_s)) / wall_s)


def wait_for_quiet(patience_s: float) -> None:
    """Return when others leave the machine alone, or when patience has run out."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        watch = Watch.start()
        time.sleep(_LOOK_S)
        if watch.others_cores() < _QUIET_CORES:
            return


def machine() -> dict[str, str]:
    """The machine and the versions, for the head of a report."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} cores, {_cpu_name()}, {psutil.virtual_memory().total / 1024**3:.0f} GiB",
        "CPU flags": " ".join(flag for flag in _TELLING_FLAGS if flag in _cpuinfo("flags").split()) or "none of note",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("faster-whisper", "ctranslate2", "asr-service")),
    }


def _busy_s() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[:8]) - idle)  # the rest of the tuple, guests, is counted in it already


def _own_s() -> float:
    """CPU seconds of this process and all under it, those that have ended and were waited for included."""
    this = psutil.Process()
    return sum(_cpu_s(process) for process in [this, *this.children(recursive=True)])


def _cpu_s(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))  # user, system, and the same of children that were waited for
    except psutil.NoSuchProcess:
        return 0.0


def _cpu_name() -> str:
    return f"{_cpuinfo('model name') or platform.machine()}, family {_cpuinfo('cpu family')} model {_cpuinfo('model')}"


def _cpuinfo(name: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.split(":", maxsplit=1) for line in lines if ":" in line)
    return next((value.strip() for key, value in pairs if key.strip() == name), "")
