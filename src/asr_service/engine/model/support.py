"""What CTranslate2 supports on a device. `doctor` and the start of a slot check it with the same code."""

from dataclasses import dataclass
from typing import Final, Literal

from asr_service.errors import ConfigurationError, DeviceUnavailable, StartupError
from asr_service.extras import install_command
from asr_service.hardware.cublas import load_cublas
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import gpu_status
from asr_service.models.registry import COMPUTE_TYPES

_NEEDED_CAPABILITY: Final = {
    "float16": (7, 0),
    "int8_float16": (7, 0),
    "bfloat16": (8, 0),
    "int8_bfloat16": (8, 0),
}
"""Of GPUs. https://opennmt.net/CTranslate2/quantization.html"""


@dataclass(frozen=True, slots=True)
class DeviceSupport:
    """What CTranslate2 and its libraries can do on one device."""

    ctranslate2: str
    """Version of CTranslate2."""
    cublas: str | None
    """Version of cuBLAS; None if it is not installed, and for a CPU, which does not need it."""
    compute_types: tuple[str, ...]
    """Precisions, by the names that ASR_COMPUTE_TYPE takes; empty if CTranslate2 cannot use the device."""
    capability: tuple[int, int] | None = None
    """Compute capability of a GPU."""
    error: str = ""
    """CTranslate2's message if it cannot use the device."""


@dataclass(frozen=True, slots=True)
class SupportProblem:
    """Why a model cannot run on a device with a precision, and what to do about it."""

    subject: Literal["cuda", "precision"]
    message: str
    fix: str
    error: type[StartupError]

    def to_error(self) -> StartupError:
        return self.error(f"{self.message} {self.fix}")


def read_support(device: Device) -> DeviceSupport:
    """Read what CTranslate2 supports on the device.

    For a GPU this process must see that GPU alone, and CUDA starts in it: call this in a worker, never in the master.
    """
    cublas = load_cublas() if device.kind == "cuda" else None
    import ctranslate2  # noqa: PLC0415 - after cuBLAS, and not in a process that only compares what was read

    try:
        found = ctranslate2.get_supported_compute_types(device.kind, 0)
    except (RuntimeError, ValueError) as error:
        return DeviceSupport(ctranslate2.__version__, cublas, (), error=str(error))
    gpu = gpu_status(device)
    return DeviceSupport(
        ctranslate2.__version__,
        cublas,
        tuple(name for name in COMPUTE_TYPES if name in found),
        gpu.compute_capability if gpu else None,
    )


def find_problem(device: Device, compute_type: str, support: DeviceSupport) -> SupportProblem | None:
    """Return why no model can run on the device with that precision; None if nothing is wrong."""
    if device.kind == "cuda" and support.cublas is None:
        return SupportProblem(
            "cuda",
            "cuBLAS 12 (libcublas.so.12) is not installed, and a model on a GPU needs it.",
            f"Run `{install_command('cuda')}`, or add the folder of libcublas.so.12 to LD_LIBRARY_PATH.",
            ConfigurationError,
        )
    if not support.compute_types:
        return SupportProblem(
            "cuda",
            f"CTranslate2 cannot use {device}: {support.error}.",
            "Update NVIDIA's driver to 525 or newer, and check that this user can open /dev/nvidia-uvm.",
            DeviceUnavailable,
        )
    if compute_type not in support.compute_types:
        return SupportProblem(
            "precision",
            f"Precision {compute_type} is not supported on {device}{_capability_hint(compute_type, support)}.",
            f"Set ASR_COMPUTE_TYPE to one of: {', '.join(support.compute_types)}.",
            ConfigurationError,
        )
    return None


def check_support(device: Device, compute_type: str) -> None:
    """Check the device in this process, before a model loads.

    Raises ConfigurationError: a library is missing, or the precision is not supported. DeviceUnavailable: CTranslate2
    cannot use the GPU.
    """
    problem = find_problem(device, compute_type, read_support(device))
    if problem is not None:
        raise problem.to_error()


def _capability_hint(compute_type: str, support: DeviceSupport) -> str:
    needed = _NEEDED_CAPABILITY.get(compute_type)
    if support.capability is None or needed is None or support.capability >= needed:
        return ""
    return f": it needs compute capability {_dotted(needed)}, and the GPU has {_dotted(support.capability)}"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
