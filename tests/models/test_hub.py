"""A model is downloaded completely over unstable connections, and once for several processes."""

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
    """The first start downloads every file into the cache's own layout. The next start sends no request to the hub."""
    folder = fetch(settings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert folder == settings.model_dir / "models--somebody--little" / "snapshots" / COMMIT
    asked = len(hub.gets)
    assert fetch(settings) == folder
    assert len(hub.gets) == asked == len(FILES)


def test_progress_counts_up_to_the_whole_file(hub, settings):
    """The report gets the bytes on the disk and the total bytes of each file."""
    seen: list[tuple[str, int, int]] = []
    ensure_model(settings, SPEC, lambda *report: seen.append(report))
    of_weights = [(done, total) for name, done, total in seen if name == "model.bin"]
    assert of_weights == sorted(of_weights)
    assert of_weights[-1] == (len(WEIGHTS), len(WEIGHTS))


def test_a_broken_download_continues_where_it_stopped(hub, settings):
    """More than three times, if each try makes progress."""
    hub.cut_after = [1_000_000, 500_000, 500_000, 500_000]
    folder = fetch(settings)
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    starts = [None, *(f"bytes={start}-" for start in (1_000_000, 1_500_000, 2_000_000, 2_500_000))]
    assert weights_ranges(hub) == starts


def test_a_download_continues_in_another_process(hub, settings):
    """What a killed process has downloaded is kept, and the next process requests only the rest."""
    hub.cut_after = [2_000_000, 0, 0]
    with pytest.raises(ModelUnavailable):
        fetch(settings)
    hub.gets.clear()
    assert (fetch(settings) / "model.bin").read_bytes() == WEIGHTS
    assert weights_ranges(hub) == ["bytes=2000000-"]


def test_a_failing_hub_is_an_error_after_three_tries(hub, settings):
    """The error gives the number of tries and the status."""
    hub.answers = [503] * 50
    with pytest.raises(ModelUnavailable) as failure:
        fetch(settings)
    assert 50 - len(hub.answers) == 3
    assert "3 tries" in failure.value.message
    assert "503" in failure.value.message
    assert failure.value.exit_code == 69


def test_a_download_succeeds_after_two_failures(hub, settings):
    hub.answers = [503, 500]
    assert (fetch(settings) / "model.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_denied_file_is_requested_only_once(hub, settings, status):
    """Without a token, a permission or such a file another try would not help."""
    hub.answers = [status] * 9
    with pytest.raises(ModelUnavailable, match=str(status)):
        fetch(settings)
    assert len(hub.answers) == 8


def test_a_file_that_arrives_corrupt_is_downloaded_again(hub, settings):
    """The sum is computed from the received bytes."""
    hub.corrupt = [True]
    assert (fetch(settings) / "model.bin").read_bytes() == WEIGHTS
    assert weights_ranges(hub) == [None, None]


def test_a_hub_with_another_file_is_refused_before_the_download(hub, settings):
    """The hub's sum is not the registry's, so no byte is requested."""
    with pytest.raises(ModelUnavailable, match="has the sha256"):
        fetch(settings, replace(SPEC, sha256="f" * 64))
    assert weights_ranges(hub) == []


def test_a_file_that_is_always_corrupt_never_becomes_the_model(hub, settings):
    """Three corrupt copies are an error, and the model stays incomplete."""
    hub.corrupt = [True] * 3
    with pytest.raises(ModelUnavailable, match="has the sum"):
        fetch(settings)
    with pytest.raises(ModelUnavailable, match=r"model\.bin is missing"):
        verify_model(settings, SPEC)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "tokenizer"])
def test_damaged_files_are_downloaded_again(hub, settings, damage):
    """Only missing, incomplete or corrupt files are replaced."""
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


def test_a_model_that_does_not_load_is_downloaded_again_only_if_files_are_damaged(hub, settings):
    """If all files are complete, another download would not help: that is an error."""
    folder = fetch(settings)
    with pytest.raises(ModelUnavailable, match="are complete"):
        refetch_model(settings, SPEC)
    weights = (folder / "model.bin").resolve()
    stat = weights.stat()
    weights.write_bytes(WEIGHTS[:-1] + b"?")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fetch(settings) == folder  # neither size nor time shows the damage
    refetch_model(settings, SPEC, lambda *_: None)
    assert (folder / "model.bin").read_bytes() == WEIGHTS


def test_the_error_offline_says_what_was_tried_and_what_to_do(hub, tmp_path):
    """It names each place, why it was not used, and three fixes."""
    settings = Settings(model_dir=tmp_path, offline=True)
    with pytest.raises(ModelUnavailable) as failure:
        fetch(settings)
    for expected in (
        str(tmp_path / "little"),
        "models--somebody--little",
        "ASR_OFFLINE",
        "models fetch little",
        "ASR_MODEL",
    ):
        assert expected in failure.value.message
    assert hub.gets == []


def test_a_file_larger_than_the_free_disk_space_is_not_downloaded(hub, settings, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelUnavailable, match="GB free"):
        fetch(settings)
    assert weights_ranges(hub) == []


def test_the_same_file_in_another_commit_of_the_cache_is_used(hub, settings):
    """Another program may have downloaded another commit. Its file is compared by sum."""
    folder = fetch(settings)
    elsewhere = folder.with_name("f" * 40)
    folder.rename(elsewhere)
    hub.gets.clear()
    assert fetch(settings) == elsewhere
    assert hub.gets == []


def test_several_processes_download_a_model_only_once(tmp_path):
    """Four slots that start with an empty cache make one download."""
    program = (
        "import sys; from test_hub import SPEC, Settings, ensure_model;"
        "print('ready', flush=True); sys.stdin.readline();"
        "print(ensure_model(Settings(model_dir=sys.argv[1]), SPEC))"
    )
    with FakeHub(dict(FILES), wait_for_second_get_s=1.0).serving() as hub:
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
