"""Settings are read once, and a name that means nothing is not passed over."""

from pathlib import Path

import pytest

from asr_service.errors import ConfigurationError
from asr_service.settings import load_settings


def test_a_name_that_does_not_exist_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch):
    """In the environment."""
    monkeypatch.setenv("ASR_BEAM_SISE", "3")
    with pytest.raises(ConfigurationError, match="did you mean ASR_BEAM_SIZE") as refused:
        load_settings()
    assert refused.value.param == "ASR_BEAM_SISE"


def test_so_is_one_in_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Which is read as well, and whose other variables are nobody's business."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ASR_PORT=9000\nOTHER=1\n")
    assert load_settings().port == 9000
    (tmp_path / ".env").write_text("ASR_MODLE=small\n")
    with pytest.raises(ConfigurationError, match="did you mean ASR_MODEL"):
        load_settings()


def test_a_name_that_is_like_no_other_is_refused_without_a_guess(monkeypatch: pytest.MonkeyPatch):
    """Where to look is better than a name that shares nothing but the prefix."""
    monkeypatch.setenv("ASR_GPU", "0")
    with pytest.raises(ConfigurationError, match=r"no setting ASR_GPU; `asr-service settings` lists"):
        load_settings()


def test_an_env_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """In whatever encoding it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"ASR_INITIAL_PROMPT=caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"\.env .* not UTF-8"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ASR_REQUEST_TIMEOUT_S", "inf"),
        ("ASR_PORT", "eighty"),
        ("ASR_BEAM_SIZE", "99"),
        ("ASR_COMPUTE_TYPE", "int3"),
    ],
)
def test_a_value_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    """With the variable's own name and what was given."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}={value} is not valid: expected "):
        load_settings()
