"""docs/settings.md and .env.example are generated from Settings."""

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from asr_service.settings import Settings, load_settings
from scripts.settings_reference import settings_env, settings_markdown

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("file", "render"), [("docs/settings.md", settings_markdown), (".env.example", settings_env)])
def test_the_files_are_up_to_date(file, render):
    """A setting that is added, changed or described differently changes both files."""
    assert (ROOT / file).read_text() == render(), "run: make docs"


def test_every_setting_is_in_both_files():
    """No setting is left out, and each has a description."""
    names = {f"ASR_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"^\| `(ASR_\w+)`", settings_markdown(), re.MULTILINE)) == names
    assert set(re.findall(r"^# (ASR_\w+)=", settings_env(), re.MULTILINE)) == names
    assert all(field.description for field in Settings.model_fields.values())


def test_the_uncommented_example_is_the_defaults(tmp_path, monkeypatch):
    """Copying .env.example and uncommenting every setting changes nothing."""
    (tmp_path / ".env").write_text(re.sub(r"^# (?=ASR_\w+=)", "", settings_env(), flags=re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    assert len(dotenv_values(tmp_path / ".env")) == len(Settings.model_fields)
    assert load_settings() == Settings()
