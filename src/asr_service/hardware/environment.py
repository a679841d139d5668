"""Environment variables of a process that runs a model on one device."""

from collections.abc import Sequence
from typing import Final

from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import VISIBLE, Gpu

# NumPy's small matrix products are slower on several threads: up to six times while the model is busy, because the
# threads spin on the model's cores.
_SINGLE_THREADED_BLAS: Final = {"OPENBLAS_NUM_THREADS": "1"}


def device_environment(device: Device, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return variables that let a process see this device alone. Set them before the process first uses CUDA.

    They name the GPU by its UUID: CUDA numbers GPUs by speed by default, NVML by bus, so a number may mean
    another GPU.
    """
    if device.index is None:
        return {VISIBLE: ""}
    uuid = next(gpu.uuid for gpu in gpus if gpu.index == device.index)
    return {VISIBLE: uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def engine_environment(device: Device, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return variables for a process that runs a model on this device. Set them before it loads NumPy or CUDA."""
    return device_environment(device, gpus) | _SINGLE_THREADED_BLAS
