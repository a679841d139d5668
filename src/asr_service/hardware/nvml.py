"""GPU state from NVML, which creates no CUDA context."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil
import pynvml

from asr_service.hardware.devices import Device

VISIBLE = "CUDA_VISIBLE_DEVICES"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU at one moment. `index` is the N of `cuda:N`; a MIG instance counts as a GPU."""

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
    """Name the visible GPUs in CUDA's order; none where NVML is missing, and without those that do not answer."""
    with _nvml_for_a_moment() as ready:
        if not ready:
            return ()
        try:
            return _read_gpus(_visible_handles(os.environ))
        except pynvml.NVMLError:
            return ()


def gpu_status(device: Device) -> Gpu | None:
    """Read the device as it is now, in under a millisecond. None for a CPU and where NVML fails; never raises.

    In a worker that was narrowed to one GPU, that one, by whichever number the worker still calls it.
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
    """Name NVIDIA's driver and the newest CUDA that it serves. Raises NVMLError: it does not answer."""
    pynvml.nvmlInit()
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return pynvml.nvmlSystemGetDriverVersion(), (cuda // 1000, cuda % 1000 // 10)
    finally:
        pynvml.nvmlShutdown()


def driver_trouble() -> str:
    """Say why NVIDIA's driver does not answer; nothing where it does, or where none is installed."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return ""
    except pynvml.NVMLError as error:
        return f"NVIDIA's driver does not answer: {error}"
    pynvml.nvmlShutdown()
    return ""


@contextmanager
def _nvml_for_a_moment() -> Iterator[bool]:
    """NVML open inside, closed after: the caller may fork later, and nothing of NVML should cross that."""
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
    """NVML open for the process' life: opening takes tens of milliseconds, too much for each reading."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def _visible_handles(environ: Mapping[str, str]) -> list[Any | None]:
    """Give the visible GPUs' handles, None for one that is lost: the others keep their numbers."""
    handles = [handle for index in range(pynvml.nvmlDeviceGetCount()) for handle in _instances(index)]
    if VISIBLE not in environ:
        return handles
    chosen: list[Any | None] = []
    for token in environ[VISIBLE].split(","):
        named = _handles_named(token.strip(), handles)
        if not named:  # CUDA stops at the first name that it does not know, "-1" among them
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
    """Give the GPU itself or, where it is divided, its MIG instances: CUDA cannot use the whole then."""
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
    living = [(index, handle) for index, handle in enumerate(handles) if handle is not None]
    gpus = (_or_none(functools.partial(_read_gpu, index, handle)) for index, handle in living)
    return tuple(gpu for gpu in gpus if gpu is not None)


def _read_gpu(index: int, handle: Any) -> Gpu:
    # A GPU that shares the machine's memory has none of its own to tell of.
    memory = _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle)) or psutil.virtual_memory()
    # A MIG instance has memory of its own; the rest is known of its GPU alone, and use of neither.
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
    """Read, or give None where this GPU does not know it."""
    try:
        return read()
    except pynvml.NVMLError:
        return None
