"""A device's memory and busy share while something runs on it. Without a GPU: this process tree's memory, no share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pynvml

_EVERY_S = 0.1
_MIB = 1024**2


@dataclass(slots=True)
class DeviceUse:
    """The most memory and the mean busy share over the samples taken."""

    device: str
    peak_bytes: int = 0
    shares: list[float] = field(default_factory=list)

    @property
    def peak_mib(self) -> float:
        return self.peak_bytes / _MIB

    @property
    def busy_share(self) -> float | None:
        return sum(self.shares) / len(self.shares) if self.shares else None

    def sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, memory_used(self.device))
        if self.device != "cpu":
            self.shares.append(pynvml.nvmlDeviceGetUtilizationRates(_handle(self.device)).gpu / 100)


@contextmanager
def watched(device: str) -> Iterator[DeviceUse]:
    """Sample ten times a second until the end."""
    use, ended = DeviceUse(device), threading.Event()

    def watch() -> None:
        use.sample()
        while not ended.wait(_EVERY_S):
            use.sample()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield use
    finally:
        ended.set()
        thread.join()
        use.sample()


def memory_used(device: str) -> int:
    """Bytes in use on the GPU by whichever process; resident bytes of this process and those under it for `cpu`."""
    if device != "cpu":
        return int(pynvml.nvmlDeviceGetMemoryInfo(_handle(device)).used)
    this = psutil.Process()
    return sum(_rss(process) for process in [this, *this.children(recursive=True)])


def device_name(device: str) -> str:
    if device == "cpu":
        return "CPU: no GPU was seen"
    name = pynvml.nvmlDeviceGetName(_handle(device))
    memory = pynvml.nvmlDeviceGetMemoryInfo(_handle(device)).total / 1024**3
    return f"{name}, {memory:.0f} GiB, driver {pynvml.nvmlSystemGetDriverVersion()}"


def has_gpu() -> bool:
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
