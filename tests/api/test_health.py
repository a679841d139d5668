"""What /health tells of the GPU. tests/api/test_failures.py has what it says of a slot that loads or drains."""

from api.live import serving
from asr_service.hardware.devices import Device
from hardware import fake_nvml
from hardware.fake_nvml import GIB, FakeGpu


def test_health_has_the_gpus_memory_use_and_temperature(monkeypatch):
    """As NVML has them at the moment, memory in MiB; null is what this GPU does not tell."""
    gpu = FakeGpu("GPU-a", total_bytes=24 * GIB, used_bytes=9783 * 1024**2)
    fake_nvml.install(monkeypatch, [gpu])
    with serving(device=Device("cuda", 0)) as live:
        before = live.get("/health").json()
        gpu.used_bytes, gpu.celsius, gpu.busy_percent = 10 * GIB, None, None
        after = live.get("/health").json()
    told = ("gpu_memory_used", "gpu_memory_total", "gpu_utilization", "gpu_temperature_celsius", "device")
    assert [before[name] for name in told] == ["9783 MiB", "24576 MiB", 0.5, 60.0, "cuda:0"]
    assert [after[name] for name in told] == ["10240 MiB", "24576 MiB", None, None, "cuda:0"]


def test_health_has_no_gpu_where_there_is_none(live):
    """Null, not zero."""
    health = live.get("/health").json()
    assert {value for name, value in health.items() if name.startswith("gpu_")} == {None}
