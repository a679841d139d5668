"""Environment variables of a process that runs a model on one device."""

from collections.abc import Sequence

from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import VISIBLE, Gpu

# NumPy's small products are slower on several threads, six times where the model is busy, and the threads spin on the
# model's cores.
_SINGLE_THREADED_BLAS = {"OPENBLAS_NUM_THREADS": "1"}


def device_environment(device: Device, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Variables that let a process see this device alone, to be set before CUDA is first touched in it.

    By UUID: CUDA numbers GPUs by speed unless told otherwise and NVML by bus, so that an ordinal may name another GPU.
    """
    if device.index is None:
        return {VISIBLE: ""}
    uuid = next(gpu.uuid for gpu in gpus if gpu.index == device.index)
    return {VISIBLE: uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def engine_environment(device: Device, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Variables for a process that runs a model on this device, to be set before NumPy and CUDA are loaded into it."""
    return device_environment(device, gpus) | _SINGLE_THREADED_BLAS
