"""The grammar of ASR_DEVICES."""

import re
from collections.abc import Sequence
from typing import Final

from asr_service.errors import ConfigurationError, DeviceUnavailable
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import Gpu, discover_gpus, driver_problem

_GPU: Final = re.compile(r"cuda(:[0-9]+)?")
_ONE_DEVICE: Final = re.compile(r"cpu|cuda:[0-9]+")


def parse_devices(spec: str, gpus: Sequence[Gpu] | None = None) -> tuple[Device, ...]:
    """Return one device per slot, in the order named. `gpus` defaults to those that NVML shows.

    `auto` is every GPU, or the CPU if there is none; `cuda` is every GPU.
    Raises ConfigurationError: the value is not a list of devices. DeviceUnavailable: a GPU that it names is missing.
    """
    found = discover_gpus() if gpus is None else gpus
    if spec.strip().lower() == "auto":
        return _devices_of(found) or (Device("cpu"),)
    return tuple(device for part in _parts(spec) for device in _parse_part(part, spec, found))


def count_named_slots(spec: str) -> int | None:
    """Return the number of slots if every device is named, whether it exists or not; None if the GPUs decide it."""
    parts = _parts(spec)
    return len(parts) if all(_ONE_DEVICE.fullmatch(part) for part in parts) else None


def count_cpu_slots(spec: str) -> int:
    """Return how many slots share the cores, from the names alone: a worker that sees one device can call it too.

    0 for `auto`, which makes one at most.
    """
    return _parts(spec).count("cpu")


def _parts(spec: str) -> list[str]:
    return [part.strip().lower() for part in spec.split(",")]


def _parse_part(part: str, spec: str, gpus: Sequence[Gpu]) -> tuple[Device, ...]:
    if part == "cpu":
        return (Device("cpu"),)
    if part == "cuda" and gpus:
        return _devices_of(gpus)
    named = [gpu for gpu in gpus if part == f"cuda:{gpu.index}"]
    if named:
        return _devices_of(named)
    available = ", ".join(["cpu", *(f"cuda:{gpu.index} ({gpu.name})" for gpu in gpus)])
    problem = "" if gpus else driver_problem()
    error = DeviceUnavailable if _GPU.fullmatch(part) else ConfigurationError
    raise error(
        f"ASR_DEVICES={spec!r}: device {part!r} is not available. Available: {available}"
        f"{problem and f' ({problem})'}. Use `auto`, or names separated by commas.",
        param="ASR_DEVICES",
    )


def _devices_of(gpus: Sequence[Gpu]) -> tuple[Device, ...]:
    return tuple(Device("cuda", gpu.index) for gpu in gpus)
