"""A fake NVML: the calls that the service makes, with GPUs that a test defines."""

import functools
import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml
import pytest

from asr_service.hardware import nvml

GIB = 1024**3


@dataclass
class FakeGpu:
    uuid: str
    name: str = "NVIDIA Made-up"
    total_bytes: int = 24 * GIB
    used_bytes: int = GIB
    busy_percent: int | None = 50
    celsius: int | None = 60
    capability: tuple[int, int] = (8, 9)
    lost: bool = False
    instances: list["FakeGpu"] = field(default_factory=list)
    """MIG instances, if the GPU is divided."""


def install(monkeypatch: pytest.MonkeyPatch, gpus: list[FakeGpu], visible: str | None = None) -> None:
    """Let pynvml report `gpus`, and set CUDA_VISIBLE_DEVICES to `visible`."""
    fresh = functools.cache(nvml._nvml_of_process.__wrapped__)
    monkeypatch.setattr(nvml, "_nvml_of_process", fresh)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    def refuse(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def unless_lost(gpu: FakeGpu) -> FakeGpu:
        if gpu.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return gpu

    def utilization(gpu: FakeGpu) -> SimpleNamespace:
        return refuse() if gpu.busy_percent is None else SimpleNamespace(gpu=gpu.busy_percent)  # type: ignore[return-value,func-returns-value]

    fakes = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(gpus),
        "nvmlDeviceGetHandleByIndex": lambda index: unless_lost(gpus[index]),
        "nvmlDeviceGetMigMode": lambda gpu: [1, 1] if gpu.instances else refuse(),
        "nvmlDeviceGetMaxMigDeviceCount": lambda _: 7,
        "nvmlDeviceGetMigDeviceHandleByIndex": lambda gpu, i: gpu.instances[i] if i < len(gpu.instances) else refuse(),
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda gpu: next(
            (whole for whole in gpus if gpu in whole.instances), None
        ),
        "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
        "nvmlDeviceGetName": lambda gpu: gpu.name,
        "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=gpu.total_bytes, used=gpu.used_bytes),
        "nvmlDeviceGetUtilizationRates": utilization,
        "nvmlDeviceGetTemperature": lambda gpu, _: refuse() if gpu.celsius is None else gpu.celsius,
        "nvmlDeviceGetCudaComputeCapability": lambda gpu: gpu.capability,
        "nvmlSystemGetDriverVersion": lambda: "570.00",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 12080,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(pynvml, name, fake)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible
