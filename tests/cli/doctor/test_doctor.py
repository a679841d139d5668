"""`asr-service doctor` finds real faults, and suggests a fix for each."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pynvml
import pytest

from asr_service.cli.doctor import gpu as gpu_checks
from asr_service.cli.doctor import libraries
from asr_service.cli.doctor.findings import Finding
from asr_service.cli.doctor.gpu import check_devices, check_memory
from asr_service.cli.doctor.libraries import check_libraries
from asr_service.cli.doctor.model import check_language, check_models
from asr_service.engine.model.support import DeviceSupport
from asr_service.hardware import nvml
from asr_service.hardware.cublas import load_cublas
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import discover_gpus
from asr_service.models.registry import MODELS
from asr_service.settings import Settings
from hardware import fake_nvml
from hardware.fake_nvml import GIB, FakeGpu

GPU = Device("cuda", 0)
CPU = Device("cpu")


def doctor(
    *arguments: str, cwd: Path, environment: dict[str, str], n_files: int | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", "doctor", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")}
    if n_files is not None:
        command = ["sh", "-c", f'ulimit -n {n_files}; exec "$@"', "sh", *command]
    return subprocess.run(
        command, env=environ | environment, cwd=cwd, capture_output=True, text=True, timeout=110, check=False
    )


def worst_findings(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Return the findings by check; of several, the worst."""
    worst: dict[str, dict[str, Any]] = {}
    order = ["ok", "warning", "failure"]
    for finding in json.loads(result.stdout):
        if order.index(finding["level"]) >= order.index(worst.get(finding["check"], finding)["level"]):
            worst[finding["check"]] = finding
    return worst


def levels(found: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in found}


@pytest.mark.speech
def test_a_sound_machine_has_no_failures(base_model_dir, tmp_path):
    """The trial run loads the model and transcribes. There is one aligned line per finding, and the exit code is 0."""
    (tmp_path / ".env").write_text("ASR_PORT=0\n")
    result = doctor(cwd=tmp_path, environment={"ASR_MODEL": str(base_model_dir), "ASR_DEVICES": "cpu"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 set in the environment and .env, all valid" in result.stdout
    lines = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert {line[:9].strip() for line in lines} <= {"ok", "warning"}
    assert {line[21] for line in lines} == {" "}
    assert "two seconds transcribed in" in result.stdout


def test_a_limit_of_open_files_with_which_the_service_does_not_start_is_a_failure(tmp_path):
    """With a little more it is a warning."""
    result = doctor("--quick", "--json", cwd=tmp_path, n_files=100, environment={"ASR_DEVICES": "cpu", "ASR_PORT": "0"})
    assert worst_findings(result)["limits"]["level"] == "failure"
    assert result.returncode == 1


def test_several_faults_are_found_in_one_run_each_with_a_fix(base_model_dir, tmp_path):
    """A port in use with the program that uses it, a damaged model, a small disk, too few open files."""
    model = tmp_path / "models" / "base"
    model.mkdir(parents=True)
    for path in base_model_dir.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    with (model / "model.bin").open("r+b") as file:
        file.write(b"damage")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        environment = {
            "ASR_PORT": str(holder.getsockname()[1]),
            "ASR_MODEL": "base",
            "ASR_MODEL_DIR": str(tmp_path / "models"),
            "ASR_MAX_UPLOAD_BYTES": str(10**18),
            "ASR_DEVICES": "cpu",
        }
        result = doctor("--json", cwd=tmp_path, n_files=512, environment=environment)
    found = worst_findings(result)
    assert result.returncode == 1
    assert {name: found[name]["level"] for name in found if found[name]["level"] != "ok"} == {
        "model": "failure",
        "upload disk": "warning",
        "address": "failure",
        "limits": "warning",
    }
    assert f"pid {os.getpid()}" in found["address"]["message"]
    assert "sha256" in found["model"]["message"]
    assert "models fetch base" in found["model"]["fix"]
    assert "trial run" not in found
    assert all(finding["fix"] for finding in found.values() if finding["level"] != "ok")


def test_refused_settings_and_a_missing_model_are_found(tmp_path):
    """A refused value is a failure, and the other checks still run. `--strict` turns a warning into exit code 2."""
    refused = {"ASR_BEAM_SIZE": "99", "HF_HOME": str(tmp_path)}
    result = doctor("--json", "--quick", cwd=tmp_path, environment=refused)
    found = worst_findings(result)
    assert (result.returncode, found["settings"]["level"]) == (1, "failure")
    assert "ASR_BEAM_SIZE" in found["settings"]["message"]
    assert found["decoder"]["level"] == "ok"
    absent = {"ASR_MODEL": "small", "HF_HOME": str(tmp_path), "ASR_PORT": "0"}
    slow_start = doctor("--json", "--quick", "--strict", cwd=tmp_path, environment=absent)
    assert (slow_start.returncode, worst_findings(slow_start)["model"]["level"]) == (2, "warning")
    assert "0.5 GB" in worst_findings(slow_start)["model"]["message"]


def test_offline_without_the_model_is_a_failure(tmp_path):
    """The first start cannot download it."""
    settings = Settings(model="small", model_dir=tmp_path, offline=True)
    models, (finding,) = check_models(settings, [CPU])
    assert models == {CPU: MODELS["small"]}
    assert (finding.level, "models fetch small" in (finding.fix or "")) == ("failure", True)


@pytest.mark.parametrize(
    ("model", "language", "level"),
    [
        ("base", None, "ok"),
        ("base", "German", "ok"),
        ("base", "auto-per-chunk", "ok"),
        ("base.en", "en", "ok"),
        ("base.en", "de", "failure"),
        ("distil-large-v3", "de", "failure"),
        ("base", "klingon", "failure"),
    ],
)
def test_a_language_that_the_model_does_not_support_is_found(model, language, level):
    (finding,) = check_language(Settings(language=language), {CPU: MODELS[model]})
    assert finding.level == level


def test_the_vocabulary_of_a_folder_shows_whether_it_is_multilingual(base_model_dir, tmp_path):
    """A fine-tuned model has no registered name."""
    (finding,) = check_language(Settings(language="de"), {CPU: base_model_dir})
    assert finding.level == "ok"
    (tmp_path / "vocabulary.json").write_text(json.dumps(["a"] * 51_864))
    (finding,) = check_language(Settings(language="de"), {CPU: tmp_path})
    assert finding.level == "failure"


def test_gpus_are_described(monkeypatch):
    """The findings name the driver, and each GPU with its memory and compute capability."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=24 * GIB, used_bytes=GIB)])
    slots, found = check_devices(Settings(), discover_gpus())
    assert slots == (GPU,)
    assert levels(found) == {"devices": "ok", "driver": "ok", "gpu": "ok"}
    assert "compute capability 8.9" in found[-1].message


def test_an_unused_gpu_is_a_warning(monkeypatch):
    """ASR_DEVICES=cpu on a machine with a GPU is rarely intended."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a")])
    _, found = check_devices(Settings(devices="cpu"), discover_gpus())
    assert levels(found)["devices"] == "warning"


def test_a_card_without_a_driver_is_a_warning(monkeypatch, tmp_path):
    """The service would silently run on the CPU. On a machine without a card that is no fault."""

    def mismatch() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(pynvml, "nvmlInit", mismatch)
    monkeypatch.setattr(gpu_checks, "_PCI", tmp_path)
    assert levels(check_devices(Settings(), ())[1])["gpu"] == "ok"
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "vendor").write_text("0x10de\n")
    (tmp_path / "0000:01:00.0" / "class").write_text("0x030200\n")
    finding = check_devices(Settings(), ())[1][-1]
    assert (finding.check, finding.level) == ("gpu", "warning")
    assert "nvidia-smi" in (finding.fix or "")


def test_an_old_driver_is_a_failure(monkeypatch):
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a")])
    monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion_v2", lambda: 11040)
    assert levels(check_devices(Settings(), discover_gpus())[1])["driver"] == "failure"


def gpus(*uuids: str) -> list[nvml.Gpu]:
    return [nvml.Gpu(n, uuid, uuid, GIB, 0, None, None, (6, 1)) for n, uuid in enumerate(uuids)]


def supports(monkeypatch: pytest.MonkeyPatch, by_device: dict[str, DeviceSupport]) -> None:
    """Let each device's process report the given support, and crash for a device without one."""

    def read(device: Device, _gpus: object) -> tuple[DeviceSupport | None, str]:
        found = by_device.get(str(device))
        return found, "" if found else "it crashed"

    monkeypatch.setattr(libraries, "_read_support", read)


def test_a_missing_cublas_is_found_once_for_all_gpus(monkeypatch):
    """The fix names the extra to install."""
    without = DeviceSupport("4.8", None, ("int8_float16",), (8, 9))
    supports(monkeypatch, {"cpu": DeviceSupport("4.8", None, ("int8",)), "cuda:0": without, "cuda:1": without})
    version, missing = check_libraries(Settings(), [GPU, Device("cuda", 1)], gpus("GPU-a", "GPU-b"))
    assert "cuBLAS is missing" in version.message
    assert (missing.check, missing.level) == ("cuda", "failure")
    assert "asr-service[cuda]" in (missing.fix or "")


def test_a_gpu_that_ctranslate2_cannot_use_is_found(monkeypatch):
    """Each GPU is checked in a process of its own, and one that crashes is named."""
    good = DeviceSupport("4.8", "12.8", ("int8_float16",), (8, 9))
    supports(monkeypatch, {"cpu": DeviceSupport("4.8", None, ("int8",)), "cuda:0": good})
    _, broken = check_libraries(Settings(), [GPU, Device("cuda", 1), CPU], gpus("GPU-a", "GPU-b"))
    assert (broken.check, broken.level) == ("cuda", "failure")
    assert "cuda:1: it crashed" in broken.message


def test_each_device_is_read_as_its_slot_sees_it(monkeypatch):
    """CUDA shows a process one MIG instance at most, and it numbers different GPUs by speed."""
    seen: list[tuple[str, str]] = []

    def run(command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append((command[-1], env["CUDA_VISIBLE_DEVICES"]))
        support = DeviceSupport("4.8", "12.8", ("int8", "int8_float16"), (8, 9))
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(asdict(support)), stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    (found,) = check_libraries(Settings(), [GPU, Device("cuda", 1)], gpus("MIG-a", "MIG-b"))
    assert found.level == "ok"
    assert seen == [("cpu", ""), ("cuda:0", "MIG-a"), ("cuda:1", "MIG-b")]


def test_an_unsupported_precision_is_found(monkeypatch):
    """int8_float16 needs compute capability 7.0. The fix lists what the device supports."""
    old = DeviceSupport("4.8", "12.8", ("int8_float32", "float32"), (6, 1))
    supports(monkeypatch, {"cpu": DeviceSupport("4.8", None, ("int8", "float32")), "cuda:0": old})
    _, finding = check_libraries(Settings(), [GPU, CPU], gpus("GPU-a"))
    assert (finding.check, finding.level) == ("precision", "failure")
    assert "6.1" in finding.message
    assert "7.0" in finding.message
    assert "int8_float32" in (finding.fix or "")


def test_an_unsupported_precision_on_the_cpu_is_found_in_the_real_library():
    """The probe runs in a process of its own."""
    version, finding = check_libraries(Settings(compute_type="float16", devices="cpu"), [CPU], ())
    assert "CTranslate2 4." in version.message
    assert (finding.check, finding.level) == ("precision", "failure")
    assert "int8" in (finding.fix or "")


@pytest.mark.parametrize(
    ("total_gib", "used_gib", "n_slots", "level"),
    [(8, 1, 1, "ok"), (8, 1, 2, "ok"), (8, 6, 1, "warning"), (8, 1, 3, "failure"), (2, 0, 1, "failure")],
)
def test_the_models_of_all_slots_are_compared_with_the_memory(
    monkeypatch, tmp_path, total_gib, used_gib, n_slots, level
):
    """More than the device has is a failure; more than is free now is a warning."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=total_gib * GIB, used_bytes=used_gib * GIB)])
    (finding,) = check_memory(Settings(model_dir=tmp_path), {GPU: MODELS["large-v3"]}, [GPU] * n_slots)
    assert finding.level == level
    assert "3.1 GB" in finding.message or n_slots > 1


@pytest.mark.parametrize(("used_gib", "n_slots", "n_windows"), [(1, 1, 16), (22.3, 1, 6), (21, 2, 2)])
def test_the_batch_size_that_the_free_memory_allows_is_shown(monkeypatch, base_model_dir, used_gib, n_slots, n_windows):
    """As the slot will choose it after the model is loaded."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=24 * GIB, used_bytes=int(used_gib * GIB))])
    memory, batches = check_memory(Settings(), {GPU: base_model_dir}, [GPU] * n_slots)
    assert (memory.level, batches.check, batches.level) == ("ok", "batches", "ok")
    assert f"up to {n_windows} windows" in batches.message


def test_auto_that_selects_base_on_a_gpu_is_a_warning(monkeypatch, tmp_path):
    """It says why the model is not large-v3."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=4 * GIB)])
    _, found = check_models(Settings(model_dir=tmp_path), [GPU])
    assert any("too little memory for large-v3" in finding.message for finding in found)


def test_looking_for_cublas_needs_no_gpu():
    """It gives the version if cuBLAS is installed, else None, and never an error."""
    version = load_cublas()
    assert version is None or version.startswith("12.")
