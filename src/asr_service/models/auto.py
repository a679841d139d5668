"""Chooses the model and the precision of a device for the value `auto`."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import Gpu
from asr_service.models.registry import AUTO, GIB, MODELS
from asr_service.settings import Settings

_LARGE: Final = "large-v3"
_SMALL: Final = "base"
_HEADROOM_BYTES: Final = 2 * GIB
"""GPU memory that large-v3 needs in addition to its published need: the reserve of 1 GiB that `engine.sizing` keeps
free, and batches of at least one window, which takes 0.6 GB in float16 with a beam width of 5
(`engine.sizing.decode_bytes`). With more memory the batches are larger."""


def resolved_compute_type(settings: Settings, device: Device) -> str:
    """Return the precision of the settings, or this device's default precision for `auto`."""
    if settings.compute_type != "auto":
        return settings.compute_type
    return "int8_float16" if device.kind == "cuda" else "int8"


def auto_model(settings: Settings, device: Device, memory_bytes: int | None, n_slots: int) -> str:
    """Return the name of the model that `auto` means on a device that `n_slots` slots share.

    It depends on the total memory of the GPU (None for a CPU), never on the free memory: a worker that restarts while
    its predecessor still holds memory must get the same model.
    """
    need_bytes = MODELS[_LARGE].memory_need_bytes(resolved_compute_type(settings, device)) + _HEADROOM_BYTES
    return _LARGE if memory_bytes is not None and memory_bytes >= n_slots * need_bytes else _SMALL


def slot_models(settings: Settings, devices: Sequence[Device], gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """Return ASR_MODEL for each slot's device, with `auto` replaced by a name."""
    if settings.model != AUTO:
        return (settings.model,) * len(devices)
    memory_bytes = {gpu.index: gpu.memory_total_bytes for gpu in gpus}
    n_slots = Counter(devices)
    return tuple(
        auto_model(settings, device, None if device.index is None else memory_bytes.get(device.index), n_slots[device])
        for device in devices
    )
