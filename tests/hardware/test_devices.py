"""Slots are made of the devices that CUDA would see, without a call of CUDA."""

import pynvml
import pytest

from asr_service.errors import ConfigurationError, DeviceUnavailable
from asr_service.hardware.devices import Device
from asr_service.hardware.environment import device_environment
from asr_service.hardware.nvml import discover_gpus, driver_problem, gpu_status
from asr_service.hardware.spec import parse_devices
from hardware import fake_nvml
from hardware.fake_nvml import GIB, FakeGpu

CPU = Device("cpu")
TWO = [FakeGpu("GPU-aaaa-1"), FakeGpu("GPU-bbbb-2", name="NVIDIA Other")]


def cuda(*indexes: int) -> tuple[Device, ...]:
    return tuple(Device("cuda", index) for index in indexes)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("auto", cuda(0, 1)),
        ("cuda", cuda(0, 1)),
        ("cuda:1", cuda(1)),
        ("cuda:0,cuda:0", cuda(0, 0)),
        (" CUDA:1 , cpu ", (*cuda(1), CPU)),
        ("cpu,cpu", (CPU, CPU)),
    ],
)
def test_each_named_device_becomes_a_slot(monkeypatch, spec, expected):
    """In the order named. A device named twice gets two slots; `auto` and `cuda` mean every GPU."""
    fake_nvml.install(monkeypatch, TWO)
    assert parse_devices(spec) == expected


def test_auto_without_a_gpu_is_one_cpu_slot():
    assert parse_devices("auto", gpus=()) == (CPU,)


@pytest.mark.parametrize(
    "spec", ["cuda:2", "cuda:", "cuda:-1", "cuda:x", "gpu", "cpu:0", "", "cpu,,cpu", "cuda:²", "cuda:\u0661"]
)
def test_a_missing_device_is_refused_with_the_list_of_available_ones(monkeypatch, spec):
    """The error names the wrong part of the value and every device of the machine."""
    fake_nvml.install(monkeypatch, TWO)
    with pytest.raises(
        ConfigurationError, match=r"Available: cpu, cuda:0 \(NVIDIA Made-up\), cuda:1 \(NVIDIA Other\)\."
    ):
        parse_devices(spec)


def test_the_error_says_that_the_driver_does_not_answer(monkeypatch):
    """The driver may recover, so the error allows another try. Without a driver there is no such message."""

    def fail_with(code: int) -> None:
        def init() -> None:
            raise pynvml.NVMLError(code)

        monkeypatch.setattr(pynvml, "nvmlInit", init)

    fail_with(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    with pytest.raises(
        DeviceUnavailable, match=r"Available: cpu \(NVIDIA's driver does not answer: Driver Not Loaded\)\."
    ):
        parse_devices("cuda:0")
    fail_with(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    assert driver_problem() == ""


def test_cuda_without_a_gpu_is_refused():
    """A GPU that is named is never replaced by the CPU."""
    with pytest.raises(ConfigurationError, match=r"Available: cpu\."):
        parse_devices("cuda", gpus=())


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-aaaa-1", "GPU-bbbb-2"]),
        ("1,0", ["GPU-bbbb-2", "GPU-aaaa-1"]),
        ("GPU-bbbb", ["GPU-bbbb-2"]),
        ("1,-1,0", ["GPU-bbbb-2"]),
        ("0,7", ["GPU-aaaa-1"]),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_only_visible_gpus_are_counted_in_their_order(monkeypatch, visible, expected):
    """CUDA_VISIBLE_DEVICES is read as CUDA reads it: numbers or UUIDs, up to the first that does not exist."""
    fake_nvml.install(monkeypatch, TWO, visible)
    gpus = discover_gpus()
    assert [gpu.uuid for gpu in gpus] == expected
    assert [gpu.index for gpu in gpus] == list(range(len(expected)))


def test_a_divided_gpu_is_replaced_by_its_instances(monkeypatch):
    """CUDA cannot use a GPU in MIG mode as a whole. Each instance has its own memory and its GPU's temperature."""
    parts = [FakeGpu("MIG-1", total_bytes=10 * GIB, busy_percent=None), FakeGpu("MIG-2", total_bytes=10 * GIB)]
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-whole", celsius=71, instances=parts)])
    first, second = discover_gpus()
    assert (first.uuid, second.uuid) == ("MIG-1", "MIG-2")
    assert (first.memory_total_bytes, first.temperature_celsius, first.utilization_ratio) == (10 * GIB, 71.0, None)


def test_a_lost_gpu_does_not_hide_the_others(monkeypatch):
    """If one GPU is lost, the others keep their numbers."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-lost", lost=True), FakeGpu("GPU-fine")])
    assert [(gpu.index, gpu.uuid) for gpu in discover_gpus()] == [(1, "GPU-fine")]
    assert parse_devices("auto") == cuda(1)
    assert device_environment(Device("cuda", 1), discover_gpus())["CUDA_VISIBLE_DEVICES"] == "GPU-fine"
    with pytest.raises(ConfigurationError):
        parse_devices("cuda:0")


def test_the_status_is_read_each_time_and_a_missing_sensor_is_none(monkeypatch):
    """Memory in use changes between two readings. A missing sensor is None, not 0."""
    gpu = FakeGpu("GPU-x", celsius=None)
    fake_nvml.install(monkeypatch, [gpu])
    before = gpu_status(Device("cuda", 0))
    gpu.used_bytes = 9 * GIB
    after = gpu_status(Device("cuda", 0))
    assert before is not None
    assert after is not None
    assert (before.memory_used_bytes, after.memory_used_bytes) == (GIB, 9 * GIB)
    assert (after.utilization_ratio, after.temperature_celsius, after.memory_free_bytes) == (0.5, None, 15 * GIB)


def test_a_worker_that_sees_one_gpu_reads_that_gpu(monkeypatch):
    """The worker of cuda:1 sees only that GPU, and reads it under the name cuda:1."""
    fake_nvml.install(monkeypatch, TWO)
    environment = device_environment(Device("cuda", 1), discover_gpus())
    assert environment == {"CUDA_VISIBLE_DEVICES": "GPU-bbbb-2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    fake_nvml.install(monkeypatch, TWO, environment["CUDA_VISIBLE_DEVICES"])
    status = gpu_status(Device("cuda", 1))
    assert status is not None
    assert status.uuid == "GPU-bbbb-2"


def test_a_cpu_worker_sees_no_gpu(monkeypatch):
    fake_nvml.install(monkeypatch, TWO)
    assert device_environment(CPU, discover_gpus()) == {"CUDA_VISIBLE_DEVICES": ""}


def test_status_never_raises(monkeypatch):
    """Without a GPU, with a wrong number or with a lost GPU the status is None."""
    assert gpu_status(CPU) is None
    fake_nvml.install(monkeypatch, TWO)
    assert gpu_status(Device("cuda", 5)) is None
    gone = [FakeGpu("GPU-gone"), FakeGpu("GPU-there")]
    fake_nvml.install(monkeypatch, gone)
    assert gpu_status(Device("cuda", 0)) is not None
    gone[0].lost = True
    assert gpu_status(Device("cuda", 0)) is None


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch):
    """A missing NVML is not an error."""

    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    fake_nvml.install(monkeypatch, TWO)
    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert discover_gpus() == ()
    assert gpu_status(Device("cuda", 0)) is None


@pytest.mark.parametrize(("device", "text"), [(CPU, "cpu"), (Device("cuda", 3), "cuda:3")])
def test_a_device_is_written_and_read_as_in_asr_devices(device, text):
    assert str(device) == text
    assert Device.named(text) == device
