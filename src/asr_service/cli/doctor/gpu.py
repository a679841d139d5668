"""What `doctor` asks of GPUs and memory: driver, libraries, and room for the model."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
import pynvml

from asr_service.cli.doctor.findings import Finding, failure, gigabytes, ok, warning
from asr_service.errors import ConfigurationError
from asr_service.hardware.devices import Device
from asr_service.hardware.environment import device_environment
from asr_service.hardware.nvml import Gpu, driver_versions, gpu_status
from asr_service.hardware.spec import parse_devices
from asr_service.models.registry import ModelSpec
from asr_service.models.resolution import Model, model_name, resolved_compute_type
from asr_service.settings import Settings

_PCI: Final = Path("/sys/bus/pci/devices")
_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED: Final = Path("/sys/fs/cgroup/memory.current")
_OLDEST_CUDA: Final = (12, 0)
_INT8_FLOAT16: Final = (7, 0)
_TIMEOUT_S: Final = 60.0
_FLOAT16_BYTES: Final = 2
_SMALLER: Final = "set ASR_MODEL to a smaller model, ASR_COMPUTE_TYPE to int8_float16, or ASR_DEVICES to fewer slots"

# In a process of its own: libraries that do not fit together may end the process that opens them.
_LIBRARY_PROBE: Final = """
import json
from asr_service.hardware.cublas import load_cublas
cublas = load_cublas()
import ctranslate2
n = ctranslate2.get_cuda_device_count()
types = {"cpu": sorted(ctranslate2.get_supported_compute_types("cpu"))}
for i in range(n):
    types[f"cuda:{i}"] = sorted(ctranslate2.get_supported_compute_types("cuda", i))
print(json.dumps({"cublas": cublas, "ctranslate2": ctranslate2.__version__, "n_gpus": n, "types": types}))
"""


def check_devices(settings: Settings, gpus: Sequence[Gpu]) -> tuple[tuple[Device, ...], list[Finding]]:
    """Say which devices the slots get; where ASR_DEVICES is refused, the rest goes on with what there is."""
    try:
        devices = parse_devices(settings.devices, gpus)
    except ConfigurationError as error:
        found = [failure("devices", error.message, "set ASR_DEVICES=auto"), *_driver_findings(gpus)]
        return parse_devices("auto", gpus), found
    told = f"ASR_DEVICES={settings.devices} makes slots on {', '.join(map(str, devices))}"
    if gpus and all(device.kind == "cpu" for device in devices):
        unused = warning("devices", f"{told}, and there are {len(gpus)} GPUs", "unset ASR_DEVICES to use them")
        return devices, [unused, *_driver_findings(gpus)]
    return devices, [ok("devices", told), *_driver_findings(gpus)]


def check_libraries(settings: Settings, devices: Sequence[Device], gpus: Sequence[Gpu]) -> list[Finding]:
    """Open what CTranslate2 opens, and ask it what it can do with these devices."""
    facts, trouble = _probe_libraries(gpus)
    if facts is None:
        cure = "reinstall it: `pip install --force-reinstall ctranslate2`"
        return [failure("libraries", f"CTranslate2 cannot be imported: {trouble}", cure)]
    found = [ok("libraries", f"CTranslate2 {facts['ctranslate2']}, cuBLAS {facts['cublas'] or 'not here'}")]
    if gpus or any(device.kind == "cuda" for device in devices):
        found += _cuda_findings(facts, gpus)
    return found + _precision_findings(settings, devices, gpus, facts["types"])


def check_memory(settings: Settings, models: Mapping[Device, Model], devices: Sequence[Device]) -> list[Finding]:
    """See that the slots' models fit in their devices' memory, all of a device's together."""
    found: list[Finding] = []
    for device, n_slots in Counter(devices).items():
        need_bytes = n_slots * need_of(models[device], resolved_compute_type(settings, device))
        who = f"{n_slots} x {model_name(models[device])} on {device}"
        gpu = gpu_status(device)
        if gpu is not None:
            found.append(_fit(who, need_bytes, gpu.memory_free_bytes, gpu.memory_total_bytes))
        elif device.kind == "cpu":
            found.append(_fit(who, need_bytes, _free_memory_bytes(), psutil.virtual_memory().total))
    return found


def need_of(model: Model, compute_type: str) -> int:
    """Give a model's need in bytes; a folder's is estimated from the size of its weights, taken for float16."""
    if isinstance(model, ModelSpec):
        return model.memory_need_bytes(compute_type)
    size_bytes = (model / "model.bin").stat().st_size
    n_parameters = size_bytes // _FLOAT16_BYTES
    return ModelSpec(
        model_name(model), "", "", size_bytes, None, n_parameters, n_mels=80, multilingual=True, files=()
    ).memory_need_bytes(compute_type)


def _fit(who: str, need_bytes: int, free_bytes: int, total_bytes: int) -> Finding:
    told = f"{who} needs about {gigabytes(need_bytes)}; {gigabytes(free_bytes)} of {gigabytes(total_bytes)} are free"
    if need_bytes > total_bytes:
        return failure("memory", told, _SMALLER)
    if need_bytes > free_bytes:
        return warning("memory", told, f"end what else uses that memory (a running asr-service is one), or {_SMALLER}")
    return ok("memory", told)


def _free_memory_bytes() -> int:
    free_bytes = psutil.virtual_memory().available
    try:
        return min(free_bytes, int(_CGROUP_LIMIT.read_text()) - int(_CGROUP_USED.read_text()))
    except (OSError, ValueError):  # no limit is the word "max"
        return free_bytes


def _driver_findings(gpus: Sequence[Gpu]) -> list[Finding]:
    try:
        driver, cuda = driver_versions()
    except pynvml.NVMLError as error:
        return [_no_driver(str(error))]
    found = [_too_old(driver, cuda)] if cuda < _OLDEST_CUDA else [ok("driver", f"{driver}, for CUDA {_dotted(cuda)}")]
    if not gpus:
        cure = "give the process a GPU: unset CUDA_VISIBLE_DEVICES; in a container, --gpus all"
        return [*found, warning("gpu", "the driver is here and shows no GPU", cure)]
    return found + [ok("gpu", _describe(gpu)) for gpu in gpus]


def _no_driver(why: str) -> Finding:
    if not _has_nvidia_card():
        return ok("gpu", "none; the model runs on the CPU")
    cure = "install NVIDIA's driver, or reboot after its update, until `nvidia-smi` works; in a container, --gpus all"
    return warning("gpu", f"there is an NVIDIA card and its driver does not answer: {why}", cure)


def _too_old(driver: str, cuda: tuple[int, int]) -> Finding:
    told = f"driver {driver} serves CUDA {_dotted(cuda)}, and CTranslate2 needs {_dotted(_OLDEST_CUDA)}"
    return failure("driver", told, "update NVIDIA's driver to 525 or newer")


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


def _probe_libraries(gpus: Sequence[Gpu]) -> tuple[dict[str, Any] | None, str]:
    """What CTranslate2 can do on the CPU and on each GPU: by itself, as its slot will have it. CUDA shows a process one
    MIG instance at most, and numbers GPUs another way than the driver unless it is told.
    """
    facts, trouble = _probe(device_environment(Device("cpu"), gpus))
    if facts is None:
        return None, trouble
    for gpu in gpus:
        seen, _ = _probe(device_environment(Device("cuda", gpu.index), gpus))
        if seen is not None and seen["n_gpus"]:
            facts["n_gpus"] += 1
            facts["types"][f"cuda:{gpu.index}"] = seen["types"]["cuda:0"]
    return facts, ""


def _probe(environment: Mapping[str, str]) -> tuple[dict[str, Any] | None, str]:
    command, environ = [sys.executable, "-c", _LIBRARY_PROBE], {**os.environ, **environment}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environ, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"it did not answer within {_TIMEOUT_S:.0f} s"
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts, ""


def _cuda_findings(facts: Mapping[str, Any], gpus: Sequence[Gpu]) -> list[Finding]:
    found: list[Finding] = []
    if facts["cublas"] is None:
        cure = "`pip install 'asr-service[cuda]'`, or put the folder of libcublas.so.12 on LD_LIBRARY_PATH"
        found.append(failure("cuda", "libcublas.so.12 is not here, and no model runs on a GPU without it", cure))
    if facts["n_gpus"] < len(gpus):
        told = f"the driver shows {len(gpus)} GPUs and CTranslate2 can use {facts['n_gpus']}"
        cure = "update NVIDIA's driver to one for CUDA 12, and see that /dev/nvidia-uvm is there for this user"
        found.append(failure("cuda", told, cure))
    return found


def _precision_findings(
    settings: Settings, devices: Sequence[Device], gpus: Sequence[Gpu], types: Mapping[str, Sequence[str]]
) -> list[Finding]:
    found: list[Finding] = []
    for device in dict.fromkeys(devices):
        wanted = resolved_compute_type(settings, device)
        can = types.get(str(device))
        if can is None or wanted in can:
            continue
        told = f"{device} does not do {wanted}"
        capability = next((gpu.compute_capability for gpu in gpus if gpu.index == device.index), None)
        if capability is not None and capability < _INT8_FLOAT16:
            told += f": its compute capability is {_dotted(capability)}, and float16 needs {_dotted(_INT8_FLOAT16)}"
        found.append(failure("precision", told, f"set ASR_COMPUTE_TYPE to one of {', '.join(can)}"))
    return found
