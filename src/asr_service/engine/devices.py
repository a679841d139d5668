"""Which devices there are and which slots they make. NVML is asked, which makes no CUDA context: the master may.

Devices are counted by bus, as CUDA does under CUDA_DEVICE_ORDER=PCI_BUS_ID, and among the visible ones: under
CUDA_VISIBLE_DEVICES=3,1 `cuda:0` is the machine's fourth GPU. To CUDA, a worker that was narrowed to one GPU
(`device_environment`) has only `cuda:0`.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import psutil
import pynvml

from asr_service.errors import ConfigurationError, DeviceUnavailable

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NAMES_GPU = re.compile(r"cuda(:\d+)?")
_NAMED_DEVICE = re.compile(r"cpu|cuda:\d+")
# NumPy's small products are slower on several threads, six times where the model is busy, and the threads spin on the
# model's cores.
_SINGLE_THREADED_BLAS = {"OPENBLAS_NUM_THREADS": "1"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model runs. `index` is None for the CPU."""

    kind: Literal["cpu", "cuda"]
    index: int | None = None

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass(frozen=True, slots=True)
class Slot:
    """A worker process' place: its number from 0, and the device it has."""

    index: int
    device: Device


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


def parse_devices(spec: str, gpus: Sequence[Gpu] | None = None) -> tuple[Device, ...]:
    """One device a slot, in the order named; `gpus` defaults to those that NVML shows.

    `auto` is every GPU, else one CPU; `cuda` is every GPU. Raises ConfigurationError.
    """
    found = discover_gpus() if gpus is None else gpus
    if spec.strip().lower() == "auto":
        return _all_gpus(found) or (Device("cpu"),)
    parts = [part.strip().lower() for part in spec.split(",")]
    return tuple(device for part in parts for device in _parse_one(part, spec, found))


def n_named_slots(spec: str) -> int | None:
    """How many slots there are where each device is named, whether it is there or not; None where the GPUs decide."""
    parts = [part.strip().lower() for part in spec.split(",")]
    return len(parts) if all(_NAMED_DEVICE.fullmatch(part) for part in parts) else None


def n_cpu_slots(spec: str) -> int:
    """How many slots share the cores, by the names alone: a worker that sees one device can tell, too.

    0 for `auto`, which makes one at most.
    """
    return sum(part.strip().lower() == "cpu" for part in spec.split(","))


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


def device_environment(device: Device, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Variables that let a process see this device alone, to be set before CUDA is first touched in it.

    By UUID: CUDA numbers GPUs by speed unless told otherwise and NVML by bus, so that an ordinal may name another GPU.
    """
    if device.index is None:
        return {_VISIBLE: ""}
    uuid = next(gpu.uuid for gpu in gpus if gpu.index == device.index)
    return {_VISIBLE: uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def engine_environment(device: Device, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Variables for a process that runs a model on this device, to be set before NumPy and CUDA are loaded into it."""
    return device_environment(device, gpus) | _SINGLE_THREADED_BLAS


def _parse_one(part: str, spec: str, gpus: Sequence[Gpu]) -> tuple[Device, ...]:
    if part == "cpu":
        return (Device("cpu"),)
    if part == "cuda" and gpus:
        return _all_gpus(gpus)
    kind, _, number = part.partition(":")
    named = [gpu for gpu in gpus if kind == "cuda" and str(gpu.index) == number]
    if named:
        return _all_gpus(named)
    there = ", ".join(["cpu", *(f"cuda:{gpu.index} ({gpu.name})" for gpu in gpus)])
    refused = DeviceUnavailable if _NAMES_GPU.fullmatch(part) else ConfigurationError
    why = "" if gpus else driver_trouble()
    raise refused(
        f"ASR_DEVICES={spec!r}: there is no device {part!r}; there is {there}{why and f' ({why})'}; write `auto`, or "
        "names with commas",
        param="ASR_DEVICES",
    )


def _all_gpus(gpus: Sequence[Gpu]) -> tuple[Device, ...]:
    return tuple(Device("cuda", gpu.index) for gpu in gpus)


# -- NVML. Handles are opaque, and pynvml has no types.


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
    if _VISIBLE not in environ:
        return handles
    chosen: list[Any | None] = []
    for token in environ[_VISIBLE].split(","):
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
