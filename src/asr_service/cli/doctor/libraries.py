"""`doctor`'s checks of CTranslate2 and CUDA's libraries, with the code that a slot's start uses."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from asr_service.cli.doctor.findings import Finding, failure, ok
from asr_service.engine.model.support import DeviceSupport, find_problem
from asr_service.hardware.devices import Device
from asr_service.hardware.environment import device_environment
from asr_service.hardware.nvml import Gpu
from asr_service.models.auto import resolved_compute_type
from asr_service.settings import Settings

_TIMEOUT_S: Final = 60.0


def check_libraries(settings: Settings, devices: Sequence[Device], gpus: Sequence[Gpu]) -> list[Finding]:
    """Check that CTranslate2 and its libraries can use each device of the slots with its precision.

    Each device is read in a process of its own that sees it alone, as a slot's does: CUDA shows a process at most one
    MIG instance, and a process may crash if libraries do not match.
    """
    cpu, error = _read_support(Device("cpu"), gpus)
    if cpu is None:
        fix = "reinstall it: `pip install --force-reinstall ctranslate2`"
        return [failure("libraries", f"CTranslate2 cannot be imported: {error}", fix)]
    cublas: list[str] = []
    problems: list[Finding] = []
    for device in dict.fromkeys(devices):
        support, error = (cpu, "") if device.kind == "cpu" else _read_support(device, gpus)
        support = support or DeviceSupport(cpu.ctranslate2, "unknown", (), error=error)
        cublas += [f", cuBLAS {support.cublas or 'is missing'}"] if device.kind == "cuda" else []
        problem = find_problem(device, resolved_compute_type(settings, device), support)
        if problem is not None:
            problems.append(failure(problem.subject, problem.message, problem.fix))
    return [ok("libraries", f"CTranslate2 {cpu.ctranslate2}{''.join(cublas[:1])}"), *dict.fromkeys(problems)]


def _read_support(device: Device, gpus: Sequence[Gpu]) -> tuple[DeviceSupport | None, str]:
    """Return what CTranslate2 supports on the device, or None and why it cannot be read."""
    command = [sys.executable, "-m", "asr_service.cli.doctor.probe", str(device)]
    environ = os.environ | device_environment(device, gpus)
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environ, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"it did not answer within {_TIMEOUT_S:.0f} s"
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"])[-1]
    fields = json.loads(done.stdout.splitlines()[-1])
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return DeviceSupport(**(fields | lists)), ""
