"""A model comes from the hub whole, over lines that break, and once however many ask for it."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from asr_service.errors import ModelUnavailable
from asr_service.models import hub as hub_module
from asr_service.models.registry import ModelSpec
from asr_service.models.resolution import ensure_model, refetch_model, verify_model
from asr_service.settings import Settings
from models.fake_hub import COMMIT, FakeHub

WEIGHTS = hashlib.shake_256(b"weights").digest(3_000_000)
FILES = {
    "config.json": b'{"alignment_heads": []}',
    "tokenizer.json": b'{"model": {}}',
    "vocabulary.txt": b"a\nb\n",
    "model.bin": WEIGHTS,
}
SPEC = ModelSpec(
    name="little",
    repository="somebody/little",
    revision=COMMIT,
    size_bytes=len(WEIGHTS),
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    parameters=1,
    n_mels=80,
    multilingual=True,
    files=tuple(FILES),
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub(dict(FILES)).serving() as serving:
        monkeypatch.setattr(constants, "ENDPOINT", serving.url)
        template = serving.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hub_module, "_BACK_OFF_S", 0.01)
        yield serving


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model_dir=tmp_path / "models")


def fetch(settings: Settings, spec: ModelSpec = SPEC) -> Path:
    return ensure_model(settings, spec, lambda *_: None)


def weights_ranges(hub: FakeHub) -> list[str | None]:
    return [asked for name, asked in hub.gets if name == "model.bin"]


def test_a_model_is_fetched_once_and_then_found(hub, settings):
    """The first start fetches every file into the cache's own layout; the next asks the hub for nothing."""
    folder = fetch(settings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert folder == settings.model_dir / "models--somebody--little" / "snapshots" / COMMIT
    asked = len(hub.gets)
    assert fetch(settings) == folder
    assert len(hub.gets) == asked == len(FILES)


def test_progress_counts_up_to_the_whole_file(hub, settings):
    """Whoever watches is told the bytes there are of each file, and the bytes there will be."""
    seen: list[tuple[str, int, int]] = []
    ensure_model(settings, SPEC, lambda *report: seen.append(report))
    of_weights = [(done, total) for name, done, total in seen if name == "model.bin"]
    assert of_weights == sorted(of_weights)
    assert of_weights[-1] == (len(WEIGHTS), len(WEIGHTS))


def test_a_broken_line_costs_only_what_was_not_there_yet(hub, settings):
    """A fetch that breaks is taken up where it broke, more than three times if each brings something."""
    hub.cut_after = [1_000_000, 500_000, 500_000, 500_000]
    folder = fetch(settings)
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    starts = [None, *(f"bytes={start}-" for start in (1_000_000, 1_500_000, 2_000_000, 2_500_000))]
    assert weights_ranges(hub) == starts


def test_a_fetch_goes_on_in_another_process_life(hub, settings):
    """What a killed process had fetched is kept: the next one asks for the rest alone."""
    hub.cut_after = [2_000_000, 0, 0]
    with pytest.raises(ModelUnavailable):
        fetch(settings)
    hub.gets.clear()
    assert (fetch(settings) / "model.bin").read_bytes() == WEIGHTS
    assert weights_ranges(hub) == ["bytes=2000000-"]


def test_three_tries_then_one_clear_error(hub, settings):
    """A hub that fails is tried three times; the error says so, and what else to do."""
    hub.answers = [503] * 50
    with pytest.raises(ModelUnavailable) as failure:
        fetch(settings)
    assert 50 - len(hub.answers) == 3
    assert "3 tries" in failure.value.message
    assert "503" in failure.value.message
    assert failure.value.exit_code == 69


def test_two_failures_are_got_over(hub, settings):
    """The third try is a try too."""
    hub.answers = [503, 500]
    assert (fetch(settings) / "model.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_the_hub_denies_is_not_asked_again(hub, settings, status):
    """No token, no permission, no such file: trying again would not help."""
    hub.answers = [status] * 9
    with pytest.raises(ModelUnavailable, match=str(status)):
        fetch(settings)
    assert len(hub.answers) == 8


def test_a_file_spoilt_on_its_way_is_fetched_again(hub, settings):
    """The sum is taken of what came, not of what was promised."""
    hub.spoil = [True]
    assert (fetch(settings) / "model.bin").read_bytes() == WEIGHTS
    assert weights_ranges(hub) == [None, None]


def test_a_hub_with_another_file_is_refused_before_it_is_fetched(hub, settings):
    """A file whose sum is not the registry's is not this model; gigabytes of it are not asked for."""
    with pytest.raises(ModelUnavailable, match="has the sha256"):
        fetch(settings, replace(SPEC, sha256="f" * 64))
    assert weights_ranges(hub) == []


def test_a_file_that_is_always_spoilt_never_becomes_the_model(hub, settings):
    """Three spoilt copies are an error, and no folder passes for the model."""
    hub.spoil = [True] * 3
    with pytest.raises(ModelUnavailable, match="has the sum"):
        fetch(settings)
    with pytest.raises(ModelUnavailable, match=r"model\.bin is missing"):
        verify_model(settings, SPEC)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "tokenizer"])
def test_a_damaged_model_is_fetched_again_at_start(hub, settings, damage):
    """Partial, corrupt or incomplete files on the disk are replaced, and no others."""
    folder = fetch(settings)
    hub.gets.clear()
    weights = (folder / "model.bin").resolve()
    match damage:
        case "cut":
            os.truncate(weights, 1000)
        case "changed":
            weights.write_bytes(b"x" + WEIGHTS[1:])
        case "gone":
            (folder / "model.bin").unlink()
            weights.unlink()
        case "tokenizer":
            (folder / "tokenizer.json").resolve().write_bytes(b'{"model"')
    again = fetch(settings)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == FILES
    assert [name for name, _ in hub.gets] == ["tokenizer.json" if damage == "tokenizer" else "model.bin"]


def test_a_model_that_does_not_load_is_fetched_again_only_if_its_files_are_at_fault(hub, settings):
    """A second fetch of whole files would change nothing, so it is an error; damaged ones are replaced."""
    folder = fetch(settings)
    with pytest.raises(ModelUnavailable, match="are whole"):
        refetch_model(settings, SPEC)
    weights = (folder / "model.bin").resolve()
    stat = weights.stat()
    weights.write_bytes(WEIGHTS[:-1] + b"?")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fetch(settings) == folder  # neither size nor time tells
    refetch_model(settings, SPEC, lambda *_: None)
    assert (folder / "model.bin").read_bytes() == WEIGHTS


def test_offline_says_what_was_tried_and_what_to_do(hub, tmp_path):
    """Without a hub there is one error: each place looked at, why not, and three ways out."""
    settings = Settings(model_dir=tmp_path, offline=True)
    with pytest.raises(ModelUnavailable) as failure:
        fetch(settings)
    for said in (
        str(tmp_path / "little"),
        "models--somebody--little",
        "ASR_OFFLINE",
        "models fetch little",
        "ASR_MODEL",
    ):
        assert said in failure.value.message
    assert hub.gets == []


def test_a_full_disk_is_named_before_it_fills(hub, settings, monkeypatch):
    """A file that would not fit is not begun."""
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelUnavailable, match="GB left"):
        fetch(settings)
    assert weights_ranges(hub) == []


def test_the_hubs_cache_of_another_tool_serves(hub, settings):
    """A commit that somebody else fetched serves where its files are the model's, by sum."""
    folder = fetch(settings)
    elsewhere = folder.with_name("f" * 40)
    folder.rename(elsewhere)
    hub.gets.clear()
    assert fetch(settings) == elsewhere
    assert hub.gets == []


def test_processes_that_ask_together_fetch_once(tmp_path):
    """Four slots that start on an empty cache make one download between them."""
    program = (
        "import sys; from test_hub import SPEC, Settings, ensure_model;"
        "print('ready', flush=True); sys.stdin.readline();"
        "print(ensure_model(Settings(model_dir=sys.argv[1]), SPEC))"
    )
    with FakeHub(dict(FILES), wait_for_company_s=1.0).serving() as hub:
        paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"HF_ENDPOINT": hub.url, "PYTHONPATH": os.pathsep.join(paths).rstrip(os.pathsep)}
        slots = [start([sys.executable, "-c", program, str(tmp_path)], environment) for _ in range(4)]
        for slot in slots:
            assert slot.stdout is not None
            assert slot.stdout.readline() == "ready\n"
        for slot in slots:
            assert slot.stdin is not None
            slot.stdin.write("\n")
            slot.stdin.flush()
        folders = {slot.communicate(timeout=60)[0].strip().splitlines()[-1] for slot in slots}
    assert [slot.returncode for slot in slots] == [0] * 4
    assert len(folders) == 1
    assert sorted(name for name, _ in hub.gets) == sorted(FILES)


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
