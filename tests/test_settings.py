"""Settings are read once from the environment and `.env`; unknown names and invalid values are errors."""

import re
from pathlib import Path

import pytest

from asr_service.errors import ConfigurationError
from asr_service.settings import load_settings


def test_the_environment_overrides_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Arguments override both; an empty variable counts as unset."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ASR_PORT=9000\nASR_HOST=::1\nASR_BEAM_SIZE=2\nOTHER=1\n")
    monkeypatch.setenv("ASR_HOST", "127.0.0.2")
    monkeypatch.setenv("ASR_LANGUAGE", "")
    settings = load_settings(None, beam_size=3)
    assert (settings.port, settings.host, settings.beam_size, settings.language) == (9000, "127.0.0.2", 3, None)


def test_given_variables_replace_the_environment_and_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Tests that pass their own variables do not depend on those of the machine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ASR_PORT=9000\n")
    monkeypatch.setenv("ASR_BEAM_SIZE", "3")
    settings = load_settings({"asr_max_wait_s": "7"})
    assert (settings.port, settings.beam_size, settings.max_wait_s) == (8000, 5, 7)


def test_an_unknown_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASR_BEAM_SISE", "3")
    with pytest.raises(
        ConfigurationError, match=r"There is no setting ASR_BEAM_SISE\. Did you mean ASR_BEAM_SIZE\?"
    ) as e:
        load_settings()
    assert e.value.param == "ASR_BEAM_SISE"


def test_an_unknown_variable_in_the_env_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ASR_MODLE=small\n")
    with pytest.raises(ConfigurationError, match="Did you mean ASR_MODEL"):
        load_settings()


def test_an_unknown_variable_without_a_near_name_gets_no_guess(monkeypatch: pytest.MonkeyPatch):
    """The message says where all settings are listed."""
    monkeypatch.setenv("ASR_GPU", "0")
    with pytest.raises(ConfigurationError, match=r"no setting ASR_GPU\. `asr-service settings` lists"):
        load_settings()


def test_a_removed_setting_names_its_replacement():
    """An operator who still sets it learns what to write instead."""
    with pytest.raises(
        ConfigurationError, match=r"no setting ASR_METRICS_NEED_KEY any longer.*ASR_METRICS_INSIDE=none"
    ):
        load_settings({"ASR_METRICS_NEED_KEY": "true"})


def test_all_mistakes_are_in_one_message():
    """An operator corrects them together, and does not start the service once for each."""
    given = {"ASR_GPU": "0", "ASR_PORT": "many", "ASR_BEAM_SISE": "3", "ASR_MAX_WAIT_S": "-1", "ASR_DEVICES": "cpu"}
    with pytest.raises(ConfigurationError) as refused:
        load_settings(given, log_level="loud")
    first, *lines = refused.value.message.splitlines()
    assert first == "5 settings are wrong:"
    named = [re.search("ASR_[A-Z_]+", line)[0] for line in lines]  # type: ignore[index]
    assert sorted(named) == ["ASR_BEAM_SISE", "ASR_GPU", "ASR_LOG_LEVEL", "ASR_MAX_WAIT_S", "ASR_PORT"]
    assert refused.value.param == named[0]


def test_an_env_file_that_is_not_utf_8_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"ASR_INITIAL_PROMPT=caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"\.env .* not UTF-8"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ('\n# keys\n\nASR_API_KEYS="alice:sha256:00\nASR_PORT=9000\n', 4, "ASR_API_KEYS"),
        ('ASR_API_KEYS="alice:sha256:00\nASR_PAGE_NOTE="note"\n', 1, "ASR_API_KEYS"),
        ("OTHER: 1\nasr_port: 9000\n", 2, "ASR_PORT"),
        ("ASR_PORT:9000\n", 1, "ASR_PORT"),
        ("ASR_PORT\n", 1, "ASR_PORT"),
        ("ASR_PAGE_NOTE='a' b\n", 1, "ASR_PAGE_NOTE"),
    ],
)
def test_a_line_of_the_env_file_that_cannot_be_read_is_refused(monkeypatch, tmp_path, text, line, name):
    """A service whose API keys were ignored would be open to everyone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"\.env in the working directory, line {line}: {name} has no value"):
        load_settings()


def test_other_lines_of_the_env_file_do_not_matter(monkeypatch, tmp_path):
    """Docker Compose and other programs read it too. A mark before the first line is ignored."""
    monkeypatch.chdir(tmp_path)
    text = "\ufeffASR_HOST=::1\r\nOTHER: 1\r\nMORE\r\n# ASR_PORT: 1\r\nexport ASR_PORT = '9000' # ASR_PORT\r\n"
    (tmp_path / ".env").write_bytes(text.encode())
    settings = load_settings()
    assert (settings.host, settings.port) == ("::1", 9000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ASR_REQUEST_TIMEOUT_S", "inf"),
        ("ASR_PORT", "eighty"),
        ("ASR_BEAM_SIZE", "99"),
        ("ASR_COMPUTE_TYPE", "int3"),
    ],
)
def test_an_invalid_value_is_refused_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}={value} is not valid: expected "):
        load_settings()
