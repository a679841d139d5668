"""ASR_MODEL becomes a model: a name, a folder, or what the device has room for."""

import shutil
from pathlib import Path

import faster_whisper.utils
import pytest

from asr_service.errors import ConfigurationError, ModelUnavailable
from asr_service.hardware.devices import Device
from asr_service.models import packaged
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
    """Every name of ours that faster-whisper knows is the same repository, so that their caches serve each other."""
    theirs = faster_whisper.utils._MODELS
    for name in [*MODELS, "large", "turbo"]:
        assert theirs[name] == spec_named(name).repository, name


def test_every_registered_model_is_pinned():
    """A name means one commit and one file, by its sum; no two names share one."""
    for spec in MODELS.values():
        assert len(spec.revision) == 40, spec.name
        assert len(spec.sha256 or "") == 64, spec.name
        assert "model.bin" in spec.files
    assert len({spec.sha256 for spec in MODELS.values()}) == len(MODELS)


@pytest.mark.parametrize(
    ("free_gib", "compute_type", "expected"),
    [(24, "auto", "large-v3"), (4, "auto", "large-v3"), (3.5, "auto", "base"), (4, "float32", "base")],
)
def test_auto_takes_large_v3_where_it_has_room(monkeypatch, free_gib, compute_type, expected):
    """Room is free memory now, against the need in the precision that is set, and a gibibyte for batches."""
    gpu = FakeGpu("GPU-a", total_bytes=48 * GIB, used_bytes=48 * GIB - int(free_gib * GIB))
    fake_nvml.install(monkeypatch, [gpu])
    assert resolve_model(Settings(compute_type=compute_type), GPU) == MODELS[expected]


def test_auto_on_a_cpu_is_base():
    assert resolve_model(Settings(), CPU) == BASE


def test_large_v3_needs_what_was_measured():
    """3.1 GB in int8_float16; the other precisions are estimates and grow with the width of a weight."""
    large = MODELS["large-v3"]
    assert large.memory_need_bytes("int8_float16") == 3_100_000_000
    assert large.memory_is_measured("int8_float16")
    needs = [large.memory_need_bytes(kind) for kind in ("int8_float16", "float16", "float32")]
    assert needs == sorted(set(needs))


def test_a_name_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ConfigurationError, match=r"large-v4.*there is tiny, .*large-v3"):
        resolve_model(Settings(model="large-v4"), CPU)


def test_a_folder_is_taken_as_it_is(base_model_dir):
    """A fine-tuned model is a path; it goes by its folder's name and is never fetched."""
    settings = Settings(model=str(base_model_dir), offline=True)
    model = resolve_model(settings, CPU)
    assert model == base_model_dir
    assert model_name(model) == base_model_dir.name
    assert ensure_model(settings, model) == verify_model(settings, model) == base_model_dir


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
def test_a_folder_that_lacks_a_file_is_refused_by_that_name(base_model_dir, tmp_path, name):
    """What is missing is said, and how to make a whole one."""
    for path in base_model_dir.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelUnavailable, match=rf"lacks .*{name}.*ct2-transformers-converter"):
        resolve_model(Settings(model=str(tmp_path)), CPU)


def test_a_folder_that_cannot_be_looked_at_is_no_crash(tmp_path):
    """As where its name is too long, or a folder above it is closed to this user."""
    for name in ("a" * 300, "b/" * 3000):
        with pytest.raises(ModelUnavailable, match="no such folder"):
            resolve_model(Settings(model=str(tmp_path / name)), CPU)
    with pytest.raises(ConfigurationError, match="there is no model"):
        resolve_model(Settings(model="a" * 300), CPU)
    assert not ModelStore(tmp_path / ("c" * 300), tmp_path / ("c" * 300)).candidates(BASE)


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(ModelUnavailable, match="no such folder"):
        resolve_model(Settings(model=str(tmp_path / "none")), CPU)


def test_base_is_joined_from_its_packages_without_a_hub(base_model_dir, tmp_path):
    """The extra base-model makes Systran's base to the byte, offline, in a plain folder; later starts only look."""
    settings = Settings(model="base", model_dir=tmp_path, offline=True)
    folder = ensure_model(settings, BASE)
    assert folder == tmp_path / "base"
    assert verify_model(settings, BASE) == folder
    made = (folder / "model.bin").stat().st_mtime_ns
    assert ensure_model(settings, BASE) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == made
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".base")] == []


def test_a_damaged_base_is_joined_again(base_model_dir, tmp_path):
    """A model cut short by a full disk or a crash is replaced at the next start."""
    settings = Settings(model="base", model_dir=tmp_path, offline=True)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.bin").write_bytes(b"half")
    assert ensure_model(settings, BASE) == verify_model(settings, BASE) == tmp_path / "base"


def test_packages_that_are_damaged_make_no_model(base_model_dir, tmp_path, monkeypatch):
    """Halves that do not make base are refused by their sum, and nothing is left behind."""
    parts = packaged.packaged_parts()
    assert parts is not None
    spoilt = tmp_path / "data"
    shutil.copytree(parts[0], spoilt)
    (spoilt / "model.bin.part1").write_bytes(b"x")
    monkeypatch.setattr(packaged, "_data_folder", lambda name: spoilt if name.endswith("1") else parts[1])
    settings = Settings(model="base", model_dir=tmp_path / "models", offline=True)
    with pytest.raises(ModelUnavailable, match="are not base: reinstall"):
        ensure_model(settings, BASE)
    assert not list((tmp_path / "models").glob("*base*"))


def test_a_read_only_volume_serves(base_model_dir, tmp_path):
    """A model on a volume that cannot be written is found, and no lock or note is wanted of it."""
    folder = tmp_path / "base"
    folder.mkdir()
    for path in base_model_dir.iterdir():
        shutil.copyfile(path, folder / path.name)
    (tmp_path / ".verified").touch()  # where the notes would go: nobody, root included, can make a folder of it
    settings = Settings(model="base", model_dir=tmp_path, offline=True)
    assert ensure_model(settings, BASE) == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == [".verified", "base"]


def test_the_hubs_cache_is_the_default_place():
    """HF_HOME is where models are, unless ASR_MODEL_DIR says otherwise."""
    from huggingface_hub import constants

    from asr_service.models.store import ModelStore

    store = ModelStore.of(Settings())
    assert store.repository(BASE) == Path(constants.HF_HUB_CACHE) / "models--Systran--faster-whisper-base"
    assert store.folder(BASE) == Path(constants.HF_HOME) / "asr-service" / "base"
