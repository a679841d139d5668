"""A slot's model is loaded from its settings."""

import os
import shutil

import pytest

from asr_service.engine.model.loading import load_slot_model, model_threads
from asr_service.errors import ConfigurationError, ModelUnavailable
from asr_service.hardware.cpu import enable_avx512
from asr_service.hardware.devices import Device, Slot
from asr_service.models.registry import MODELS
from asr_service.models.resolution import ensure_model, verify_model
from asr_service.settings import load_settings
from hardware import fake_nvml
from hardware.fake_nvml import FakeGpu

VNNI = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"})


@pytest.fixture(autouse=True)
def _vectors_of_other_tests(monkeypatch):
    """Undo the environment variable that a load sets in this process."""
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", "")
    monkeypatch.delenv("CT2_FORCE_CPU_ISA")


def test_a_named_model_that_does_not_load_is_fetched_once_more(base_model_dir, tmp_path):
    """Its files are damaged although neither size nor time shows it. The new files load."""
    settings = load_settings({}, model="base", model_dir=tmp_path, offline=True, devices="cpu")
    weights = ensure_model(settings, MODELS["base"]) / "model.bin"
    stat = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"damage")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ensure_model(settings, MODELS["base"]) == weights.parent
    model = load_slot_model(settings, Slot(0, Device("cpu")), lambda: None)
    assert (model.facts.name, model.facts.multilingual) == ("base", True)
    assert model._model.num_workers == model.facts.threads + 1  # the priority thread
    assert verify_model(settings, MODELS["base"]) == weights.parent


def test_avx512_is_enabled_only_on_processors_with_vnni():
    """A value that the operator has set stays."""
    wide: dict[str, str] = {}
    enable_avx512(wide, VNNI)
    assert wide == {"CT2_FORCE_CPU_ISA": "AVX512"}
    narrow: dict[str, str] = {}
    enable_avx512(narrow, VNNI - {"avx512_vnni"})
    assert narrow == {}
    chosen = {"CT2_FORCE_CPU_ISA": "AVX2"}
    enable_avx512(chosen, VNNI)
    assert chosen == {"CT2_FORCE_CPU_ISA": "AVX2"}


def test_a_folder_that_does_not_load_is_an_error_with_cause_and_fix(base_model_dir, tmp_path):
    """It cannot be downloaded again as a named model can."""
    folder = tmp_path / "tuned"
    shutil.copytree(base_model_dir, folder)
    os.truncate(folder / "model.bin", 1_000_000)
    with pytest.raises(ModelUnavailable, match=r"tuned does not load: .+\. Copy the folder again, or convert "):
        load_slot_model(load_settings({}, model=str(folder)), Slot(0, Device("cpu")), lambda: None)


def test_an_unsupported_precision_is_refused_before_the_model_is_looked_for(tmp_path):
    """Otherwise gigabytes would be downloaded first."""
    settings = load_settings({}, model="small", model_dir=tmp_path, compute_type="float16")
    with pytest.raises(ConfigurationError, match="Precision float16 is not supported on cpu"):
        load_slot_model(settings, Slot(0, Device("cpu")), lambda: pytest.fail("the files were looked for"))


def test_cpu_slots_share_the_cores():
    """One thread per core, at least one per slot; one on a GPU. ASR_MODEL_THREADS overrides it."""
    alone = model_threads(load_settings({}, devices="cpu"), Device("cpu"))
    assert alone >= 1
    assert model_threads(load_settings({}, devices="cpu,cpu"), Device("cpu")) == max(1, alone // 2)
    assert model_threads(load_settings({}), Device("cuda", 0)) == 1
    assert model_threads(load_settings({}, model_threads=3), Device("cpu")) == 3


@pytest.mark.parametrize("devices", ["cpu,cuda:0", "cuda:1,cpu", "auto"])
def test_a_cpu_slot_beside_gpu_slots_uses_all_cores(monkeypatch, devices):
    """Its process sees no GPU, so it counts the slots by their names alone."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a"), FakeGpu("GPU-b")], "")
    assert model_threads(load_settings({}, devices=devices), Device("cpu")) == min(len(os.sched_getaffinity(0)), 8)
