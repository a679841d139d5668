"""`doctor`'s checks of GPUs and memory: the driver, and room for the models."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil
import pynvml

from asr_service.cli.doctor.findings import Finding, failure, gigabytes, ok, warning
from asr_service.engine.model.loading import model_threads
from asr_service.engine.model.stages import Stage
from asr_service.engine.sizing import GpuMemory, batch_limits
from asr_service.errors import ConfigurationError
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import Gpu, driver_versions, gpu_status
from asr_service.hardware.spec import parse_devices
from asr_service.models.auto import resolved_compute_type
from asr_service.models.dimensions import read_dimensions
from asr_service.models.registry import ModelSpec, estimated_need_bytes
from asr_service.models.resolution import Model, model_name, model_on_disk
from asr_service.settings import Settings

_PCI: Final = Path("/sys/bus/pci/devices")
_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED: Final = Path("/sys/fs/cgroup/memory.current")
_OLDEST_CUDA: Final = (12, 0)
_FLOAT16_BYTES: Final = 2
NEED_LESS_MEMORY: Final = (
    "set ASR_MODEL to a smaller model, ASR_COMPUTE_TYPE to int8_float16, or ASR_DEVICES to fewer slots"
)


def check_devices(settings: Settings, gpus: Sequence[Gpu]) -> tuple[tuple[Device, ...], list[Finding]]:
    """Return the device of each slot, with findings. If ASR_DEVICES is refused, the devices are those of `auto`."""
    try:
        devices = parse_devices(settings.devices, gpus)
    except ConfigurationError as error:
        found = [failure("devices", error.message, "set ASR_DEVICES=auto"), *_driver_findings(gpus)]
        return parse_devices("auto", gpus), found
    message = f"ASR_DEVICES={settings.devices} makes slots on {', '.join(map(str, devices))}"
    if gpus and all(device.kind == "cpu" for device in devices):
        unused = warning("devices", f"{message}, and {len(gpus)} GPUs are not used", "unset ASR_DEVICES to use them")
        return devices, [unused, *_driver_findings(gpus)]
    return devices, [ok("devices", message), *_driver_findings(gpus)]


def check_memory(settings: Settings, models: Mapping[Device, Model], devices: Sequence[Device]) -> list[Finding]:
    """Check that the models of all slots of a device fit in its memory together, and how large batches can be then."""
    found: list[Finding] = []
    for device, n_slots in Counter(devices).items():
        need_bytes = n_slots * memory_need_bytes(models[device], resolved_compute_type(settings, device))
        what = f"{n_slots} x {model_name(models[device])} on {device}"
        gpu = gpu_status(device)
        if gpu is not None:
            found.append(_compare(what, need_bytes, gpu.memory_free_bytes, gpu.memory_total_bytes))
            found += _check_batches(settings, device, models[device], (gpu.memory_free_bytes - need_bytes) // n_slots)
        elif device.kind == "cpu":
            found.append(_compare(what, need_bytes, _free_memory_bytes(), psutil.virtual_memory().total))
    return found


def _check_batches(settings: Settings, device: Device, model: Model, free_bytes: int) -> list[Finding]:
    """Return how many windows a decoder call holds with this free memory; nothing if the model is not on the disk."""
    folder = model if isinstance(model, Path) else model_on_disk(settings, model)
    dimensions = read_dimensions(folder) if folder else None
    if dimensions is None or free_bytes < 0:
        return []
    compute_type, n_threads = resolved_compute_type(settings, device), model_threads(settings, device)
    limits = batch_limits(settings, on_gpu=True, memory=GpuMemory(free_bytes, dimensions, compute_type, n_threads))
    return [ok("batches", f"{device} decodes up to {limits[Stage.GENERATE].n_windows} windows in one call")]


def memory_need_bytes(model: Model, compute_type: str) -> int:
    """Return a model's need; for a folder an estimate from the size of its weights, taken to be float16."""
    if isinstance(model, ModelSpec):
        return model.memory_need_bytes(compute_type)
    size_bytes = (model / "model.bin").stat().st_size
    return estimated_need_bytes(size_bytes // _FLOAT16_BYTES, compute_type)


def _compare(what: str, need_bytes: int, free_bytes: int, total_bytes: int) -> Finding:
    message = (
        f"{what} needs about {gigabytes(need_bytes)}; {gigabytes(free_bytes)} of {gigabytes(total_bytes)} are free"
    )
    if need_bytes > total_bytes:
        return failure("memory", message, NEED_LESS_MEMORY)
    if need_bytes > free_bytes:
        fix = f"stop other programs that use the memory (a running asr-service is one), or {NEED_LESS_MEMORY}"
        return warning("memory", message, fix)
    return ok("memory", message)


def _free_memory_bytes() -> int:
    free_bytes = psutil.virtual_memory().available
    try:
        return min(free_bytes, int(_CGROUP_LIMIT.read_text()) - int(_CGROUP_USED.read_text()))
    except (OSError, ValueError):  # without a limit the file contains "max"
        return free_bytes


def _driver_findings(gpus: Sequence[Gpu]) -> list[Finding]:
    try:
        driver, cuda = driver_versions()
    except pynvml.NVMLError as error:
        return [_no_driver(str(error))]
    found = [_too_old(driver, cuda)] if cuda < _OLDEST_CUDA else [ok("driver", f"{driver}, for CUDA {_dotted(cuda)}")]
    if not gpus:
        fix = "give the process a GPU: unset CUDA_VISIBLE_DEVICES; in a container, --gpus all"
        return [*found, warning("gpu", "the driver is installed but shows no GPU", fix)]
    return found + [ok("gpu", _describe(gpu)) for gpu in gpus]


def _no_driver(reason: str) -> Finding:
    if not _has_nvidia_card():
        return ok("gpu", "none; the model runs on the CPU")
    fix = "install NVIDIA's driver, or reboot after its update, until `nvidia-smi` works; in a container, --gpus all"
    return warning("gpu", f"the machine has an NVIDIA card, but its driver does not answer: {reason}", fix)


def _too_old(driver: str, cuda: tuple[int, int]) -> Finding:
    message = f"driver {driver} supports CUDA {_dotted(cuda)}, but CTranslate2 needs {_dotted(_OLDEST_CUDA)}"
    return failure("driver", message, "update NVIDIA's driver to 525 or newer")


def _has_nvidia_card() -> bool:
    return any(
        _read(card / "vendor") == _NVIDIA and _read(card / "class").startswith(_DISPLAY_CLASS)
        for card in (_PCI.iterdir() if _PCI.is_dir() else ())
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _describe(gpu: Gpu) -> str:
    memory = f"{gigabytes(gpu.memory_free_bytes)} of {gigabytes(gpu.memory_total_bytes)} free"
    return f"cuda:{gpu.index} {gpu.name}, {memory}, compute capability {_dotted(gpu.compute_capability)}"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
