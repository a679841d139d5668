"""GPU state from NVML, which creates no CUDA context."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psutil
import pynvml

from asr_service.hardware.devices import Device

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gpu:
    """The state of a GPU at one moment. `index` is the N of `cuda:N`; a MIG instance counts as a GPU."""

    index: int
    uuid: str
    name: str
    memory_total_bytes: int
    memory_used_bytes: int
    utilization_ratio: float | None
    temperature_celsius: float | None
    compute_capability: tuple[int, int]

    @property
    def memory_free_bytes(self) -> int:
        return self.memory_total_bytes - self.memory_used_bytes


def discover_gpus() -> tuple[Gpu, ...]:
    """Return the visible GPUs in CUDA's order, without those that do not answer; none if NVML is missing."""
    with _open_nvml() as ready:
        if not ready:
            return ()
        try:
            return _read_gpus(_visible_handles(os.environ))
        except pynvml.NVMLError:
            return ()


def gpu_status(device: Device) -> Gpu | None:
    """Read the GPU's present state, in under a millisecond. None for a CPU and if NVML fails; never raises.

    In a process that sees one GPU only, it reads that GPU, whatever the device's number.
    """
    if device.index is None or not _nvml_of_process(os.getpid()):
        return None
    try:
        handles = _visible_handles(os.environ)
        handle = handles[0 if len(handles) == 1 else device.index]
        return None if handle is None else _read_gpu(device.index, handle)
    except (pynvml.NVMLError, IndexError):
        return None


def driver_versions() -> tuple[str, tuple[int, int]]:
    """Return the version of NVIDIA's driver and the newest CUDA that it supports. Raises NVMLError: no answer."""
    pynvml.nvmlInit()
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return pynvml.nvmlSystemGetDriverVersion(), (cuda // 1000, cuda % 1000 // 10)
    finally:
        pynvml.nvmlShutdown()


def driver_problem() -> str:
    """Return why NVIDIA's driver does not answer; empty if it does, or if none is installed."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return ""
    except pynvml.NVMLError as error:
        return f"NVIDIA's driver does not answer: {error}"
    pynvml.nvmlShutdown()
    return ""


@contextmanager
def _open_nvml() -> Iterator[bool]:
    """Open NVML and close it again: the caller may fork later, and no state of NVML should cross a fork."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


@functools.cache
def _nvml_of_process(_pid: int) -> bool:
    """Open NVML for the life of the process: opening takes tens of milliseconds, too long for each reading."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def _visible_handles(environ: Mapping[str, str]) -> list[Any | None]:
    """Return the handles of the visible GPUs; None for a lost one, so that the others keep their numbers."""
    handles = [handle for index in range(pynvml.nvmlDeviceGetCount()) for handle in _instances(index)]
    if VISIBLE not in environ:
        return handles
    chosen: list[Any | None] = []
    for token in environ[VISIBLE].split(","):
        named = _handles_named(token.strip(), handles)
        if not named:  # CUDA stops at the first name that it does not know, such as "-1"
            break
        chosen.append(named[0])
    return chosen


def _handles_named(token: str, handles: Sequence[Any | None]) -> list[Any | None]:
    if token.isascii() and token.isdigit():
        return list(handles[int(token) : int(token) + 1])
    if not token.startswith(("GPU-", "MIG-")):
        return []
    return [handle for handle in handles if handle is not None and pynvml.nvmlDeviceGetUUID(handle).startswith(token)]


def _instances(index: int) -> list[Any | None]:
    """Return the GPU itself or, if it is divided, its MIG instances: CUDA cannot use a divided GPU as a whole."""
    gpu = _or_none(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
    if gpu is None:
        return [None]
    current = _or_none(lambda: pynvml.nvmlDeviceGetMigMode(gpu)[0])
    if current != pynvml.NVML_DEVICE_MIG_ENABLE:
        return [gpu]
    slots = range(_or_none(lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)) or 0)
    found = (_or_none(functools.partial(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, slot)) for slot in slots)
    return [handle for handle in found if handle is not None]


def _read_gpus(handles: Sequence[Any | None]) -> tuple[Gpu, ...]:
    alive = [(index, handle) for index, handle in enumerate(handles) if handle is not None]
    gpus = (_or_none(functools.partial(_read_gpu, index, handle)) for index, handle in alive)
    return tuple(gpu for gpu in gpus if gpu is not None)


def _read_gpu(index: int, handle: Any) -> Gpu:
    # A GPU that shares the machine's memory reports none of its own.
    memory = _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle)) or psutil.virtual_memory()
    # A MIG instance reports its own memory, but only its GPU reports the temperature; neither reports utilization.
    whole = _or_none(lambda: pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)) or handle
    busy_percent = _or_none(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    temperature = _or_none(lambda: pynvml.nvmlDeviceGetTemperature(whole, pynvml.NVML_TEMPERATURE_GPU))
    return Gpu(
        index=index,
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        name=pynvml.nvmlDeviceGetName(handle),
        memory_total_bytes=int(memory.total),
        memory_used_bytes=int(memory.used),
        utilization_ratio=None if busy_percent is None else busy_percent / 100,
        temperature_celsius=None if temperature is None else float(temperature),
        compute_capability=pynvml.nvmlDeviceGetCudaComputeCapability(whole),
    )


def _or_none(read: Callable[[], T]) -> T | None:
    """Read a value; None if this GPU does not report it."""
    try:
        return read()
    except pynvml.NVMLError:
        return None
