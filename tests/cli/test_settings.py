"""`asr-service settings` tells every setting, and the files made from it are as it tells."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from asr_service.cli.settings import settings_env, settings_markdown
from asr_service.settings import Settings

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("file", "made", "option"),
    [("docs/settings.md", settings_markdown, "--markdown"), (".env.example", settings_env, "--env")],
)
def test_the_files_are_as_the_code_is(file, made, option):
    """A setting that is added, changed or described anew changes both files: run `asr-service settings` and commit."""
    assert (ROOT / file).read_text() == made(), f"run: asr-service settings {option} > {file}"


def test_every_setting_is_in_both():
    """None is left out, and each says what it means."""
    names = {f"ASR_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"^\| `(ASR_\w+)`", settings_markdown(), re.MULTILINE)) == names
    assert set(re.findall(r"^# (ASR_\w+)=", settings_env(), re.MULTILINE)) == names
    assert all(field.description for field in Settings.model_fields.values())


def test_the_example_uncommented_is_the_defaults(tmp_path, monkeypatch):
    """Whoever copies .env.example and takes away every # changes nothing."""
    (tmp_path / ".env").write_text(re.sub(r"^# (?=ASR_)", "", settings_env(), flags=re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    assert len(dotenv_values(tmp_path / ".env")) == len(Settings.model_fields)
    assert Settings() == Settings(_env_file=None)


def test_values_are_told_with_where_they_come_from(tmp_path):
    """The environment wins over .env, and both over the default; each line says which it was."""
    (tmp_path / ".env").write_text("ASR_PORT=8100\nASR_BEAM_SIZE=3\n")
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", "settings"]
    told = subprocess.run(
        command, cwd=tmp_path, env={"ASR_PORT": "8200"}, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "ASR_PORT=8200  (environment)" in told
    assert "ASR_BEAM_SIZE=3  (.env)" in told
    assert "ASR_HOST=127.0.0.1  (default)" in told
