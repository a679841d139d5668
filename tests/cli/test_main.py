"""The `asr-service` command as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asr_service import __version__
from asr_service.cli.main import command_names
from models.fake_hub import FakeHub


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASR_", "HF_"))}
    return subprocess.run(
        command, env=environ | environment, capture_output=True, text=True, timeout=90, check=False, cwd="/"
    )


def test_help_lists_every_command_and_imports_none():
    """`--help` is fast because it imports neither the web framework nor the libraries for models."""
    program = (
        "import sys; sys.argv = ['asr-service', '--help']\n"
        "from asr_service.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('IMPORTED', *sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    help_text, _, imported = result.partition("IMPORTED")
    assert all(f"  {name} " in help_text for name in command_names())
    slow = {"fastapi", "ctranslate2", "huggingface_hub", "gunicorn", "av", "pydantic"}
    assert not slow & set(imported.split())


@pytest.mark.parametrize("command", [*command_names(), "models list", "models fetch", "models verify"])
def test_every_command_has_a_help(command):
    """`--help` of each command works and imports the command."""
    result = run(*command.split(), "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage:" in result.stdout


def test_version():
    assert run("--version").stdout == f"asr-service {__version__}\n"


def test_an_unknown_command_is_a_usage_error():
    result = run("nonsense")
    assert (result.returncode, "No such command" in result.stderr) == (2, True)


def test_a_setting_that_does_not_exist_ends_with_78():
    """The message is one line and suggests the nearest name."""
    result = run("models", "list", ASR_MODELL="base")
    assert result.returncode == 78
    assert result.stderr == "asr-service: There is no setting ASR_MODELL. Did you mean ASR_MODEL?\n"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ASR_MODEL", "nonesuch", "Model 'nonesuch' is not available"),
        ("ASR_LANGUAGE", "Klingon", "ASR_LANGUAGE: Language"),
    ],
)
def test_settings_that_no_slot_could_use_end_the_start(name, value, message):
    """The reason is printed once, and exit code 78 means that a restart will not help."""
    result = run("serve", ASR_PORT="0", ASR_LOG_FORMAT="plain", **{name: value})
    assert result.returncode == 78
    assert result.stderr.startswith(f"asr-service cannot serve: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_openapi_prints_an_openapi_document():
    document = json.loads(run("openapi").stdout)
    assert document["openapi"].startswith("3.")
    assert "/transcribe" in document["paths"]


def test_models_list_shows_which_models_are_on_the_disk(base_model_dir, tmp_path):
    """The table has every name. The JSON has the path of each model that is on the disk."""
    here = run("models", "fetch", "base", ASR_MODEL_DIR=str(tmp_path), ASR_OFFLINE="1")
    assert here.stdout.strip() == str(tmp_path / "base")
    table = run("models", "list", ASR_MODEL_DIR=str(tmp_path)).stdout
    assert str(tmp_path / "base") in table
    rows = {row["name"]: row for row in json.loads(run("models", "list", "--json", ASR_MODEL_DIR=str(tmp_path)).stdout)}
    assert rows["base"]["path"] == str(tmp_path / "base")
    assert rows["large-v3"]["path"] is None
    assert rows["large-v3"]["n_mels"] == 128
    assert all(name in table for name in rows)


def test_models_verify_finds_a_corrupt_byte(base_model_dir, tmp_path):
    """A file with the right size and time and the wrong content is reported, with exit code 69."""
    run("models", "fetch", "base", ASR_MODEL_DIR=str(tmp_path), ASR_OFFLINE="1")
    assert run("models", "verify", ASR_MODEL="base", ASR_MODEL_DIR=str(tmp_path)).returncode == 0
    weights = tmp_path / "base" / "model.bin"
    stat = weights.stat()
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result = run("models", "verify", "base", ASR_MODEL_DIR=str(tmp_path))
    assert result.returncode == 69
    assert "model.bin has the wrong sha256" in result.stderr


def test_a_model_that_cannot_be_fetched_ends_with_69_and_suggestions(tmp_path):
    """A model that is missing while the machine is offline is one error without a traceback."""
    result = run("models", "fetch", "tiny", ASR_MODEL_DIR=str(tmp_path), HF_HUB_OFFLINE="1")
    assert result.returncode == 69
    assert "Traceback" not in result.stderr
    assert "Do one of these:" in result.stderr


def test_models_are_fetched_from_hf_endpoint_into_hf_home(tmp_path):
    """A file whose content differs from that of the known model is refused."""
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "vocabulary.txt": b"a\n", "model.bin": b"not Whisper"}
    with FakeHub(files).serving() as hub:
        result = run("models", "fetch", "tiny", HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path))
    assert (result.returncode, result.stdout) == (69, "")
    assert f"{hub.url}/Systran/faster-whisper-tiny/resolve/" in result.stderr
    assert "has the sha256" in result.stderr
    assert list(Path(tmp_path, "hub", "models--Systran--faster-whisper-tiny", "snapshots").glob("*/config.json"))
