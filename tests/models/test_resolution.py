"""ASR_MODEL becomes a model: a name, a folder, or what the memory of the device allows."""

import shutil
from pathlib import Path

import faster_whisper.utils
import pytest

from asr_service.errors import ConfigurationError, ModelUnavailable
from asr_service.hardware.devices import Device
from asr_service.hardware.nvml import discover_gpus
from asr_service.models import packaged
from asr_service.models.auto import slot_models
from asr_service.models.registry import GIB, MODELS, spec_named
from asr_service.models.resolution import ensure_model, model_name, resolve_model, verify_model
from asr_service.models.store import ModelStore
from asr_service.settings import Settings
from hardware import fake_nvml
from hardware.fake_nvml import FakeGpu

CPU = Device("cpu")
GPU = Device("cuda", 0)
BASE = MODELS["base"]


def test_the_registry_agrees_with_faster_whisper():
    """Each name means the same repository as in faster-whisper, so that both can share a cache."""
    theirs = faster_whisper.utils._MODELS
    for name in [*MODELS, "large", "turbo"]:
        assert theirs[name] == spec_named(name).repository, name


def test_every_registered_model_is_pinned():
    """A name means one commit and one sum of model.bin. No two names share a sum."""
    for spec in MODELS.values():
        assert len(spec.revision) == 40, spec.name
        assert len(spec.sha256 or "") == 64, spec.name
        assert "model.bin" in spec.files
    assert len({spec.sha256 for spec in MODELS.values()}) == len(MODELS)


@pytest.mark.parametrize(
    ("total_gib", "compute_type", "n_slots", "expected"),
    [
        (24, "auto", 1, "large-v3"),
        (6, "auto", 1, "large-v3"),
        (4, "auto", 1, "base"),
        (6, "float32", 1, "base"),
        (6, "auto", 2, "base"),
        (12, "auto", 2, "large-v3"),
    ],
)
def test_auto_means_large_v3_if_the_gpu_is_large_enough(monkeypatch, total_gib, compute_type, n_slots, expected):
    """The total memory counts, for each slot of the GPU, in the precision that is set. A full GPU changes nothing."""
    total_bytes = int(total_gib * GIB)
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=total_bytes, used_bytes=total_bytes - 1)])
    settings = Settings(compute_type=compute_type)
    assert resolve_model(settings, GPU, n_slots) == MODELS[expected]
    assert slot_models(settings, [GPU] * n_slots, discover_gpus()) == (expected,) * n_slots


def test_each_slot_has_the_model_that_its_own_device_allows(monkeypatch):
    """A name that is set applies to every slot."""
    fake_nvml.install(monkeypatch, [FakeGpu("GPU-a", total_bytes=24 * GIB), FakeGpu("GPU-b", total_bytes=4 * GIB)])
    devices = [GPU, Device("cuda", 1), CPU]
    assert slot_models(Settings(), devices, discover_gpus()) == ("large-v3", "base", "base")
    assert slot_models(Settings(model="small"), devices, discover_gpus()) == ("small",) * 3


def test_auto_means_base_on_a_cpu():
    assert resolve_model(Settings(), CPU) == BASE


def test_large_v3_needs_the_published_memory():
    """3.1 GB in int8_float16. The other precisions are estimates that grow with the width of a weight."""
    large = MODELS["large-v3"]
    assert large.memory_need_bytes("int8_float16") == 3_100_000_000
    assert large.memory_is_published("int8_float16")
    needs = [large.memory_need_bytes(kind) for kind in ("int8_float16", "float16", "float32")]
    assert needs == sorted(set(needs))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigurationError,
        match=r"'large-v4' is not available \(did you mean 'large.*'\?\)\. Available: tiny, .*large-v3",
    ):
        resolve_model(Settings(model="large-v4"), CPU)


def test_a_folder_is_used_as_it_is(base_model_dir):
    """A fine-tuned model has its folder's name, and is never downloaded."""
    settings = Settings(model=str(base_model_dir), offline=True)
    model = resolve_model(settings, CPU)
    assert model == base_model_dir
    assert model_name(model) == base_model_dir.name
    assert ensure_model(settings, model) == verify_model(settings, model) == base_model_dir


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
def test_a_folder_without_a_needed_file_is_refused(base_model_dir, tmp_path, name):
    """The error names the file, and the command that converts a model."""
    for path in base_model_dir.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelUnavailable, match=rf"lacks .*{name}.*ct2-transformers-converter"):
        resolve_model(Settings(model=str(tmp_path)), CPU)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path):
    """For example because its name is too long."""
    for name in ("a" * 300, "b/" * 3000):
        with pytest.raises(ModelUnavailable, match="the folder does not exist"):
            resolve_model(Settings(model=str(tmp_path / name)), CPU)
    with pytest.raises(ConfigurationError, match="is not available"):
        resolve_model(Settings(model="a" * 300), CPU)
    assert not ModelStore(tmp_path / ("c" * 300), tmp_path / ("c" * 300)).candidates(BASE)


@pytest.mark.parametrize("is_named", [True, False])
def test_a_file_that_this_user_cannot_read_is_named(base_model_dir, tmp_path, monkeypatch, is_named):
    """The files of a model may belong to another user. The error names the file."""
    folder = tmp_path / "base"
    shutil.copytree(base_model_dir, folder)
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != folder / "model.bin")  # root may read everything
    monkeypatch.setattr(packaged, "_data_folder", lambda _: None)
    settings = Settings(model="base" if is_named else str(folder), model_dir=tmp_path, offline=True)
    with pytest.raises(ModelUnavailable, match=r"model\.bin cannot be read by this user"):
        ensure_model(settings, resolve_model(settings, CPU))


def test_a_model_whose_folder_this_user_cannot_read_does_not_lack_files(base_model_dir, monkeypatch):
    """The error says what to change; the model need not be converted again."""
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != base_model_dir)  # root may read everything
    with pytest.raises(ModelUnavailable, match="this user cannot read the folder"):
        resolve_model(Settings(model=str(base_model_dir)), CPU)


def test_a_cache_that_this_user_cannot_read_has_no_model(tmp_path, monkeypatch):
    """The hub's cache may belong to another user."""
    store = ModelStore(tmp_path, tmp_path)
    store.snapshot(BASE).mkdir(parents=True)
    assert store.candidates(BASE) == [store.snapshot(BASE)]

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    monkeypatch.setattr("os.listdir", refuse)
    assert store.candidates(BASE) == []


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ModelUnavailable, match="the folder does not exist"):
        resolve_model(Settings(model=str(tmp_path / "none")), CPU)


def test_base_is_joined_from_its_packages_without_a_hub(base_model_dir, tmp_path):
    """The extra base-model makes the same bytes as Systran's base, in a plain folder. Later starts only check it."""
    settings = Settings(model="base", model_dir=tmp_path, offline=True)
    folder = ensure_model(settings, BASE)
    assert folder == tmp_path / "base"
    assert verify_model(settings, BASE) == folder
    made = (folder / "model.bin").stat().st_mtime_ns
    assert ensure_model(settings, BASE) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == made
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".base")] == []


def test_an_incomplete_base_is_joined_again(base_model_dir, tmp_path):
    """A model that a full disk or a crash left incomplete is replaced at the next start."""
    settings = Settings(model="base", model_dir=tmp_path, offline=True)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.bin").write_bytes(b"half")
    assert ensure_model(settings, BASE) == verify_model(settings, BASE) == tmp_path / "base"


@pytest.mark.parametrize("name", ["model.bin.part1", "tokenizer.json", "config.json", "vocabulary.txt"])
def test_damaged_packages_make_no_model(base_model_dir, tmp_path, monkeypatch, name):
    """Each file is checked by its sum, and no part of a model stays on the disk."""
    parts = packaged.packaged_parts()
    assert parts is not None
    damaged = tmp_path / "data"
    shutil.copytree(parts[0], damaged)
    (damaged / name).write_bytes(b"{}")
    monkeypatch.setattr(packaged, "_data_folder", lambda name: damaged if name.endswith("1") else parts[1])
    settings = Settings(model="base", model_dir=tmp_path / "models", offline=True)
    with pytest.raises(ModelUnavailable, match=r"has the sha256 .* instead of .*; reinstall the extra base-model"):
        ensure_model(settings, BASE)
    assert not list((tmp_path / "models").glob("*base*"))


def test_a_read_only_volume_can_hold_the_model(base_model_dir, tmp_path):
    """Neither a lock nor a note is written."""
    folder = tmp_path / "base"
    folder.mkdir()
    for path in base_model_dir.iterdir():
        shutil.copyfile(path, folder / path.name)
    (tmp_path / ".verified").touch()  # instead of the folder for notes: not even root can create that then
    settings = Settings(model="base", model_dir=tmp_path, offline=True)
    assert ensure_model(settings, BASE) == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == [".verified", "base"]


def test_the_hubs_cache_is_used_by_default():
    """Models are in HF_HOME unless ASR_MODEL_DIR is set."""
    from huggingface_hub import constants

    from asr_service.models.store import ModelStore

    store = ModelStore.of(Settings())
    assert store.repository(BASE) == Path(constants.HF_HUB_CACHE) / "models--Systran--faster-whisper-base"
    assert store.folder(BASE) == Path(constants.HF_HOME) / "asr-service" / "base"
