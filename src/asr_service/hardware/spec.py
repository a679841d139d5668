"""The grammar of ASR_DEVICES."""

import re
from collections.abc import Sequence

from asr_service.errors import ConfigurationError, DeviceUnavailable
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import Gpu, discover_gpus, driver_trouble

_NAMES_GPU = re.compile(r"cuda(:\d+)?")


_NAMED_DEVICE = re.compile(r"cpu|cuda:\d+")


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
