"""The `asr-service` command as its user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asr_service import __version__
from asr_service.cli.main import _COMMANDS
from models.fake_hub import FakeHub


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASR_", "HF_"))}
    return subprocess.run(
        command, env=environ | environment, capture_output=True, text=True, timeout=90, check=False, cwd="/"
    )


def test_help_names_every_command_and_imports_none():
    """`--help` is quick: neither the web framework, nor the model's library, nor the hub's is touched for it."""
    program = (
        "import sys; sys.argv = ['asr-service', '--help']\n"
        "from asr_service.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('IMPORTED', *sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    help_text, _, imported = told.partition("IMPORTED")
    assert all(f"  {name} " in help_text for name in _COMMANDS)
    slow = {"fastapi", "ctranslate2", "huggingface_hub", "gunicorn", "av", "pydantic"}
    assert not slow & set(imported.split())


@pytest.mark.parametrize("command", [*_COMMANDS, "models list", "models fetch", "models verify"])
def test_every_command_explains_itself(command):
    """`--help` of each works, which imports it."""
    told = run(*command.split(), "--help")
    assert told.returncode == 0, told.stderr
    assert "Usage:" in told.stdout


def test_version():
    assert run("--version").stdout == f"asr-service {__version__}\n"


def test_an_unknown_command_is_a_usage_error():
    told = run("nonsense")
    assert (told.returncode, "No such command" in told.stderr) == (2, True)


def test_a_setting_that_does_not_exist_ends_with_78():
    """The nearest name is in the one line that is said."""
    told = run("models", "list", ASR_MODELL="base")
    assert told.returncode == 78
    assert told.stderr == "asr-service: there is no setting ASR_MODELL; did you mean ASR_MODEL?\n"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("ASR_MODEL", "nonesuch", "there is no model 'nonesuch'"), ("ASR_LANGUAGE", "Klingon", "ASR_LANGUAGE: language")],
)
def test_what_no_slot_could_do_is_told_before_any_is_started(name, value, says):
    """Once, and the exit code says that trying again is of no use."""
    told = run("serve", ASR_PORT="0", ASR_LOG_FORMAT="plain", **{name: value})
    assert told.returncode == 78
    assert told.stderr.startswith(f"asr-service cannot serve: {says}")
    assert len(told.stderr.splitlines()) == 1
    assert told.stdout == ""


def test_openapi_is_a_document():
    document = json.loads(run("openapi").stdout)
    assert document["openapi"].startswith("3.")
    assert "/transcribe" in document["paths"]


def test_models_list_tells_what_is_here(base_model_dir, tmp_path):
    """The table has every name; as JSON, the path of what is on the disk."""
    here = run("models", "fetch", "base", ASR_MODEL_DIR=str(tmp_path), ASR_OFFLINE="1")
    assert here.stdout.strip() == str(tmp_path / "base")
    table = run("models", "list", ASR_MODEL_DIR=str(tmp_path)).stdout
    assert str(tmp_path / "base") in table
    rows = {row["name"]: row for row in json.loads(run("models", "list", "--json", ASR_MODEL_DIR=str(tmp_path)).stdout)}
    assert rows["base"]["path"] == str(tmp_path / "base")
    assert rows["large-v3"]["path"] is None
    assert rows["large-v3"]["n_mels"] == 128
    assert all(name in table for name in rows)


def test_models_verify_finds_a_spoilt_byte(base_model_dir, tmp_path):
    """A file of the right size and time, and the wrong content, is found; the exit code says so."""
    run("models", "fetch", "base", ASR_MODEL_DIR=str(tmp_path), ASR_OFFLINE="1")
    assert run("models", "verify", ASR_MODEL="base", ASR_MODEL_DIR=str(tmp_path)).returncode == 0
    weights = tmp_path / "base" / "model.bin"
    stat = weights.stat()
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    told = run("models", "verify", "base", ASR_MODEL_DIR=str(tmp_path))
    assert told.returncode == 69
    assert "model.bin does not have the sha256 it should" in told.stderr


def test_a_model_that_cannot_be_had_ends_with_69_and_the_ways_out(tmp_path):
    """Offline and absent: one error, no traceback."""
    told = run("models", "fetch", "tiny", ASR_MODEL_DIR=str(tmp_path), HF_HUB_OFFLINE="1")
    assert told.returncode == 69
    assert "Traceback" not in told.stderr
    assert "What to do:" in told.stderr


def test_the_endpoint_and_the_home_are_the_hubs_own_variables(tmp_path):
    """HF_ENDPOINT is asked and HF_HOME is filled; a hub with another file under a known name is refused."""
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "vocabulary.txt": b"a\n", "model.bin": b"not Whisper"}
    with FakeHub(files).serving() as hub:
        told = run("models", "fetch", "tiny", HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path))
    assert (told.returncode, told.stdout) == (69, "")
    assert f"{hub.url}/Systran/faster-whisper-tiny/resolve/" in told.stderr
    assert "has the sha256" in told.stderr
    assert list(Path(tmp_path, "hub", "models--Systran--faster-whisper-tiny", "snapshots").glob("*/config.json"))
