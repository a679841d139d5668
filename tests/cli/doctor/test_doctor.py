"""`asr-service doctor` finds real faults, and names what cures each."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from asr_service.cli.doctor import gpu as gpu_checks
from asr_service.cli.doctor.findings import Finding
from asr_service.cli.doctor.gpu import check_devices, check_memory
from asr_service.cli.doctor.model import check_language, check_models
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


def findings(told: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """By check; of several, the worst."""
    worst: dict[str, dict[str, Any]] = {}
    order = ["ok", "warning", "failure"]
    for finding in json.loads(told.stdout):
        if order.index(finding["level"]) >= order.index(worst.get(finding["check"], finding)["level"]):
            worst[finding["check"]] = finding
    return worst


def levels(found: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in found}


@pytest.mark.speech
def test_a_sound_machine_is_told_so(base_model_dir, tmp_path):
    """Nothing is broken, the model is loaded and transcribes; one aligned line a finding, and the exit code is 0."""
    (tmp_path / ".env").write_text("ASR_PORT=0\n")
    told = doctor(cwd=tmp_path, environment={"ASR_MODEL": str(base_model_dir), "ASR_DEVICES": "cpu"})
    assert told.returncode == 0, told.stdout + told.stderr
    assert "3 set in the environment and .env, all known" in told.stdout
    lines = [line for line in told.stdout.splitlines() if not line.startswith(" ")]
    assert {line[:9].strip() for line in lines} <= {"ok", "warning"}
    assert "two seconds transcribed in" in told.stdout


def test_faults_are_found_together_each_with_its_cure(base_model_dir, tmp_path):
    """A busy port with its holder, a spoilt model, a small disk, few files: one run names them all."""
    model = tmp_path / "models" / "base"
    model.mkdir(parents=True)
    for path in base_model_dir.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    with (model / "model.bin").open("r+b") as file:
        file.write(b"spoilt")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        environment = {
            "ASR_PORT": str(holder.getsockname()[1]),
            "ASR_MODEL": "base",
            "ASR_MODEL_DIR": str(tmp_path / "models"),
            "ASR_MAX_UPLOAD_BYTES": str(10**18),
            "ASR_DEVICES": "cpu",
        }
        told = doctor("--json", cwd=tmp_path, n_files=512, environment=environment)
    found = findings(told)
    assert told.returncode == 1
    assert {name: found[name]["level"] for name in found if found[name]["level"] != "ok"} == {
        "model": "failure",
        "upload disk": "warning",
        "address": "failure",
        "limits": "warning",
    }
    assert f"pid {os.getpid()}" in found["address"]["message"]
    assert "sha256" in found["model"]["message"]
    assert "models fetch base" in found["model"]["cure"]
    assert "trial run" not in found
    assert all(finding["cure"] for finding in found.values() if finding["level"] != "ok")


def test_refused_settings_and_an_absent_model(tmp_path):
    """A value out of bounds is a failure and the other checks still run; `--strict` makes a warning count."""
    refused = {"ASR_BEAM_SIZE": "99", "HF_HOME": str(tmp_path)}
    told = doctor("--json", "--quick", cwd=tmp_path, environment=refused)
    found = findings(told)
    assert (told.returncode, found["settings"]["level"]) == (1, "failure")
    assert "ASR_BEAM_SIZE" in found["settings"]["message"]
    assert found["decoder"]["level"] == "ok"
    absent = {"ASR_MODEL": "small", "HF_HOME": str(tmp_path), "ASR_PORT": "0"}
    slow_start = doctor("--json", "--quick", "--strict", cwd=tmp_path, environment=absent)
    assert (slow_start.returncode, findings(slow_start)["model"]["level"]) == (2, "warning")
    assert "0.5 GB" in findings(slow_start)["model"]["message"]


def test_offline_without_the_model_is_a_failure(tmp_path):
    """What cannot be fetched at the first start will not be there."""
    settings = Settings(model="small", model_dir=tmp_path, offline=True)
    models, (finding,) = check_models(settings, [CPU])
    assert models == {CPU: MODELS["small"]}
    assert (finding.level, "models fetch small" in (finding.cure or "")) == ("failure", True)


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
def test_a_language_that_the_model_does_not_know_is_found(model, language, level):
    (finding,) = check_language(Settings(language=language), {CPU: MODELS[model]})
    assert finding.level == level


def test_a_folder_is_known_to_be_multilingual_by_its_vocabulary(base_model_dir, tmp_path):
    """A fine-tuned model has no name to tell by."""
    (finding,) = check_language(Settings(language="de"), {CPU: base_model_dir})
    assert finding.level == "ok"
    (tmp_path / "vocabulary.json").write_text(json.dumps(["a"] * 51_864))
    (finding,) = check_language(Settings(language="de"), {CPU: tmp_path})
    assert finding.level == "failure"


def test_gpus_are_described(monkeypatch):
    """The driver, and each GPU with its memory and compute capability."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=24 * GIB, used_bytes=GIB)])
    slots, found = check_devices(Settings(), discover_gpus())
    assert slots == (GPU,)
    assert levels(found) == {"devices": "ok", "driver": "ok", "gpu": "ok"}
    assert "compute capability 8.9" in found[-1].message


def test_a_gpu_that_is_not_used_is_said(monkeypatch):
    """ASR_DEVICES=cpu on a machine with a GPU is rarely meant."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a")])
    _, found = check_devices(Settings(devices="cpu"), discover_gpus())
    assert levels(found)["devices"] == "warning"


def test_a_card_without_a_driver_is_said(monkeypatch, tmp_path):
    """Without it the service would quietly run on the CPU; a machine without a card has nothing to cure."""

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
    assert "nvidia-smi" in (finding.cure or "")


def test_an_old_driver_is_named(monkeypatch):
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a")])
    monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion_v2", lambda: 11040)
    assert levels(check_devices(Settings(), discover_gpus())[1])["driver"] == "failure"


def test_cuda_libraries_that_do_not_match_are_named():
    """No cuBLAS, and fewer GPUs for CTranslate2 than for the driver: each with what to install."""
    gpu = nvml.Gpu(0, "GPU-a", "Old", GIB, 0, None, None, (6, 1))
    facts = {"cublas": None, "n_gpus": 0}
    missing, fewer = gpu_checks._cuda_findings(facts, [gpu])
    assert (missing.level, fewer.level) == ("failure", "failure")
    assert "asr-service[cuda]" in (missing.cure or "")


def test_each_gpu_is_asked_by_itself(monkeypatch):
    """As its slot will see it: CUDA shows a process one MIG instance, and counts unlike GPUs by speed."""
    gpus = [nvml.Gpu(n, uuid, uuid, GIB, 0, None, None, (8, 9)) for n, uuid in enumerate(["MIG-a", "MIG-b", "GPU-c"])]
    can = {"MIG-a": ["int8"], "MIG-b": ["int8_float16"]}

    def probe(environment):
        kind = environment["CUDA_VISIBLE_DEVICES"]
        types = {"cpu": ["int8"]} | ({"cuda:0": can[kind]} if kind in can else {})
        return {"cublas": "here", "ctranslate2": "4", "n_gpus": len(types) - 1, "types": types}, ""

    monkeypatch.setattr(gpu_checks, "_probe", probe)
    facts, _ = gpu_checks._probe_libraries(gpus)
    assert facts is not None
    assert facts["types"] == {"cpu": ["int8"], "cuda:0": ["int8"], "cuda:1": ["int8_float16"]}
    (fewer,) = gpu_checks._cuda_findings(facts, gpus)
    assert "shows 3 GPUs and CTranslate2 can use 2" in fewer.message
    assert not gpu_checks._cuda_findings(facts, gpus[:2])


def test_a_precision_that_the_gpu_lacks_is_named():
    """int8_float16 needs compute capability 7.0; what the device can do instead is in the cure."""
    gpu = nvml.Gpu(0, "GPU-a", "Old", GIB, 0, None, None, (6, 1))
    can = {"cuda:0": ["float32", "int8_float32"], "cpu": ["float32", "int8"]}
    (finding,) = gpu_checks._precision_findings(Settings(), [GPU, CPU], [gpu], can)
    assert "6.1" in finding.message
    assert "7.0" in finding.message
    assert "int8_float32" in (finding.cure or "")


@pytest.mark.parametrize(
    ("total_gib", "used_gib", "n_slots", "level"),
    [(8, 1, 1, "ok"), (8, 1, 2, "ok"), (8, 6, 1, "warning"), (8, 1, 3, "failure"), (2, 0, 1, "failure")],
)
def test_the_models_of_all_slots_are_held_against_the_memory(monkeypatch, total_gib, used_gib, n_slots, level):
    """Out of memory is seen before the start: never enough is a failure, not enough now a warning."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=total_gib * GIB, used_bytes=used_gib * GIB)])
    (finding,) = check_memory(Settings(), {GPU: MODELS["large-v3"]}, [GPU] * n_slots)
    assert finding.level == level
    assert "3.1 GB" in finding.message or n_slots > 1


def test_auto_that_falls_back_to_base_on_a_gpu_is_said(monkeypatch, tmp_path):
    """Whoever expects large-v3 learns why it is base."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=8 * GIB, used_bytes=7 * GIB)])
    _, found = check_models(Settings(model_dir=tmp_path), [GPU])
    assert any("too little memory free for large-v3" in finding.message for finding in found)


def test_cublas_is_looked_for_without_a_gpu():
    """Its version where it is installed, None elsewhere, and never an error."""
    version = load_cublas()
    assert version is None or version.startswith("12.")
