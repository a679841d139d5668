"""`asr-service keys`, and the warnings about a service that is open to the network."""

import re
import stat

import pytest

from asr_service.access.keys import KeyLimits, entry, read_keys
from asr_service.cli.doctor.machine import check_keys
from asr_service.settings import load_settings
from cli.test_main import run
from serving.harness import running
from waiting import until


def test_a_new_key_is_printed_and_only_its_hash_is_stored(tmp_path):
    """The entry accepts the key, other users cannot read the file, and a second key with the name is refused."""
    file = tmp_path / "keys"
    result = run("keys", "new", "alice", "--file", str(file), "--concurrent-requests", "3")
    secret = re.search(r"^key: +(asr_\S{43})$", result.stdout, re.MULTILINE)
    assert secret
    assert secret[1] not in file.read_text() + result.stderr
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0
    (alice,) = keys = read_keys(load_settings({}, api_keys_file=file))
    assert (alice.name, alice.limits, keys.find(secret[1].encode())) == ("alice", KeyLimits(3), alice)
    again = run("keys", "new", "alice", "--file", str(file))
    assert (again.returncode, again.stdout) == (78, "")
    refusal = f"{file} already has a key named 'alice'. Choose another name, or remove its line."
    assert again.stderr == f"asr-service: {refusal}\n"


@pytest.mark.parametrize("audio_s", [0.001, 0.1, 600.0, 1234.5678, 1_000_000.0, 999_999_999.0])
def test_stored_limits_are_read_back_exactly(tmp_path, audio_s):
    """The limit of an entry has all its digits."""
    (tmp_path / "keys").write_text(entry("bulk", "x" * 40, KeyLimits(999_999, audio_s)) + "\n")
    (bulk,) = read_keys(load_settings({}, api_keys_file=tmp_path / "keys"))
    assert bulk.limits == KeyLimits(999_999, audio_s)


@pytest.mark.parametrize(
    "limit", [["--concurrent-requests", "1000000"], ["--concurrent-requests", "1_0"], ["--audio-s-per-minute", "inf"]]
)
def test_an_entry_that_could_not_be_read_back_is_not_stored(tmp_path, limit):
    """The service would refuse the whole file because of such a line."""
    result = run("keys", "new", "bulk", "--file", str(tmp_path / "keys"), *limit)
    assert result.returncode == 2
    assert not (tmp_path / "keys").exists()


def test_a_plain_key_in_the_settings_is_refused_and_never_printed(tmp_path):
    """`serve` exits with 78 and names the command to use. `asr-service settings` hides the value."""
    plain = "sk-a-plain-key-that-was-stored-without-hashing-it"
    result = run("serve", ASR_API_KEYS=plain)
    assert (result.returncode, "asr-service keys new" in result.stderr) == (78, True)
    shown = run("settings", ASR_API_KEYS=plain)
    assert "ASR_API_KEYS=****" in shown.stdout
    assert plain not in result.stdout + result.stderr + shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, "ok"),
        ({"host": "0.0.0.0"}, "warning"),
        ({"host": "0.0.0.0", "api_keys": "a:sha256:" + "0" * 64}, "ok"),
        ({"api_keys": "plain"}, "failure"),
    ],
)
def test_the_doctor_checks_the_keys(settings, level):
    """A service on the network without keys is a warning. Keys that cannot be read are a failure."""
    assert [finding.level for finding in check_keys(load_settings({}, **settings))] == [level]


def test_a_service_on_the_network_without_keys_logs_a_warning(tmp_path):
    """The warning is logged at start."""
    with running(tmp_path, ASR_HOST="0.0.0.0") as service:
        until(lambda: "No API keys are set" in service.text(), what="the warning")
