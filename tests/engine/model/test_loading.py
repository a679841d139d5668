"""How a slot's model is loaded."""

import os
import shutil

import pytest

from asr_service.engine.model.loading import load_slot_model, model_threads
from asr_service.errors import ModelUnavailable
from asr_service.hardware.cpu import widen_vectors
from asr_service.hardware.devices import Device, Slot
from asr_service.models.registry import MODELS
from asr_service.models.resolution import ensure_model, verify_model
from asr_service.settings import load_settings
from hardware import fake_nvml
from hardware.fake_nvml import FakeGpu

VNNI = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"})


@pytest.fixture(autouse=True)
def _vectors_of_other_tests(monkeypatch):
    """What loading a model sets for its process ends with the test."""
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", "")
    monkeypatch.delenv("CT2_FORCE_CPU_ISA")


def test_a_model_that_does_not_load_is_had_again(base_model_dir, tmp_path):
    """Once, where its files are at fault, though neither their size nor their time shows it; and it serves then."""
    settings = load_settings({}, model="base", model_dir=tmp_path, offline=True, devices="cpu")
    weights = ensure_model(settings, MODELS["base"]) / "model.bin"
    stat = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"spoilt")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ensure_model(settings, MODELS["base"]) == weights.parent
    model = load_slot_model(settings, Slot(0, Device("cpu")), lambda: None)
    assert (model.facts.name, model.facts.multilingual) == ("base", True)
    assert model._model.num_workers == model.facts.threads + 1  # one for first words
    assert verify_model(settings, MODELS["base"]) == weights.parent


def test_wide_vectors_where_they_pay():
    """Only on processors with VNNI, and never against the operator's word."""
    wide: dict[str, str] = {}
    widen_vectors(wide, VNNI)
    assert wide == {"CT2_FORCE_CPU_ISA": "AVX512"}
    narrow: dict[str, str] = {}
    widen_vectors(narrow, VNNI - {"avx512_vnni"})
    assert narrow == {}
    told = {"CT2_FORCE_CPU_ISA": "AVX2"}
    widen_vectors(told, VNNI)
    assert told == {"CT2_FORCE_CPU_ISA": "AVX2"}


def test_a_folder_that_does_not_load_is_told_with_the_cause(base_model_dir, tmp_path):
    """It cannot be fetched again, as a named model is: the reason says what is wrong with it and what to do."""
    folder = tmp_path / "tuned"
    shutil.copytree(base_model_dir, folder)
    os.truncate(folder / "model.bin", 1_000_000)
    with pytest.raises(ModelUnavailable, match=r"tuned does not load: .+; copy it here anew, or convert it again"):
        load_slot_model(load_settings({}, model=str(folder)), Slot(0, Device("cpu")), lambda: None)


def test_cpu_slots_share_the_cores():
    """A thread a core, at least one each; a GPU has one; ASR_MODEL_THREADS has the last word."""
    alone = model_threads(load_settings({}, devices="cpu"), Device("cpu"))
    assert alone >= 1
    assert model_threads(load_settings({}, devices="cpu,cpu"), Device("cpu")) == max(1, alone // 2)
    assert model_threads(load_settings({}), Device("cuda", 0)) == 1
    assert model_threads(load_settings({}, model_threads=3), Device("cpu")) == 3


@pytest.mark.parametrize("devices", ["cpu,cuda:0", "cuda:1,cpu", "auto"])
def test_a_slot_on_the_cpu_need_not_see_the_gpus_beside_it(monkeypatch, devices):
    """It is narrowed to the CPU, and has all of its cores."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a"), FakeGpu("GPU-b")], "")
    assert model_threads(load_settings({}, devices=devices), Device("cpu")) == min(len(os.sched_getaffinity(0)), 8)
