"""Sample the memory and utilization of a device while something runs on it.

Without a GPU the memory is that of this process and its descendants, and there is no utilization.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pynvml

_EVERY_S = 0.1
_MIB = 1024**2


@dataclass(slots=True)
class DeviceUsage:
    """The peak memory and the mean utilization over the samples."""

    device: str
    peak_bytes: int = 0
    utilizations: list[float] = field(default_factory=list)

    @property
    def peak_mib(self) -> float:
        return self.peak_bytes / _MIB

    @property
    def utilization(self) -> float | None:
        """From 0 to 1; None without a GPU."""
        return sum(self.utilizations) / len(self.utilizations) if self.utilizations else None

    def sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, memory_used(self.device))
        if self.device != "cpu":
            self.utilizations.append(pynvml.nvmlDeviceGetUtilizationRates(_handle(self.device)).gpu / 100)


@contextmanager
def sampled(device: str) -> Iterator[DeviceUsage]:
    """Sample ten times per second until the end of the block."""
    usage, ended = DeviceUsage(device), threading.Event()

    def sample_repeatedly() -> None:
        usage.sample()
        while not ended.wait(_EVERY_S):
            usage.sample()

    thread = threading.Thread(target=sample_repeatedly)
    thread.start()
    try:
        yield usage
    finally:
        ended.set()
        thread.join()
        usage.sample()


def memory_used(device: str) -> int:
    """Return the bytes in use on the GPU by all processes; for `cpu`, the resident bytes of this process tree."""
    if device != "cpu":
        return int(pynvml.nvmlDeviceGetMemoryInfo(_handle(device)).used)
    this = psutil.Process()
    return sum(_rss(process) for process in [this, *this.children(recursive=True)])


def memory_free(device: str) -> int:
    """Return the free bytes of a GPU."""
    return int(pynvml.nvmlDeviceGetMemoryInfo(_handle(device)).free)


def device_name(device: str) -> str:
    """Return the GPU's name, for example `NVIDIA H200`; for `cpu`, `CPU`."""
    return "CPU" if device == "cpu" else str(pynvml.nvmlDeviceGetName(_handle(device)))


def describe_device(device: str) -> str:
    """Return the GPU's name, memory and driver version for a report."""
    if device == "cpu":
        return "CPU (no GPU was used)"
    memory = pynvml.nvmlDeviceGetMemoryInfo(_handle(device)).total / 1024**3
    return f"{device_name(device)}, {memory:.0f} GiB, driver {pynvml.nvmlSystemGetDriverVersion()}"


def has_gpu() -> bool:
    """Return True if NVML shows an NVIDIA GPU. Creates no CUDA context."""
    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False


def _handle(device: str) -> object:
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByIndex(int(device.rpartition(":")[2] or 0))


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
