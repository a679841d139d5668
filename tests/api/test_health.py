"""The GPU fields of /health. tests/api/test_failures.py tests its state while the slot loads or drains."""

from api.live import serving
from asr_service.hardware.devices import Device
from hardware import fake_nvml
from hardware.fake_nvml import GIB, FakeGpu


def test_health_has_the_memory_load_and_temperature_of_the_gpu(monkeypatch):
    """The values are NVML's current ones, memory in MiB. A value that this GPU does not report is null."""
    gpu = FakeGpu("GPU-a", total_bytes=24 * GIB, used_bytes=9783 * 1024**2)
    fake_nvml.install(monkeypatch, [gpu])
    with serving(device=Device("cuda", 0)) as live:
        before = live.get("/health").json()
        gpu.used_bytes, gpu.celsius, gpu.busy_percent = 10 * GIB, None, None
        after = live.get("/health").json()
    fields = ("gpu_memory_used", "gpu_memory_total", "gpu_utilization", "gpu_temperature_celsius", "device")
    assert [before[name] for name in fields] == ["9783 MiB", "24576 MiB", 0.5, 60.0, "cuda:0"]
    assert [after[name] for name in fields] == ["10240 MiB", "24576 MiB", None, None, "cuda:0"]


def test_the_gpu_fields_are_null_without_a_gpu(live):
    """They are not zero."""
    health = live.get("/health").json()
    assert {value for name, value in health.items() if name.startswith("gpu_")} == {None}
