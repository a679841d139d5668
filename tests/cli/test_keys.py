"""`asr-service keys`, and what is said where a service is open to others."""

import re
import stat

import pytest

from asr_service.access.keys import KeyLimits, entry, read_keys
from asr_service.cli.doctor.machine import check_keys
from asr_service.settings import load_settings
from cli.test_main import run
from serving.harness import running
from waiting import until


def test_a_key_is_shown_once_and_its_entry_opens_to_it(tmp_path):
    """The file gets the hash alone, and is not for others to read; a second key of the name is refused."""
    file = tmp_path / "keys"
    told = run("keys", "new", "alice", "--file", str(file), "--concurrent-requests", "3")
    secret = re.search(r"^key: +(asr_\S{43})$", told.stdout, re.MULTILINE)
    assert secret
    assert secret[1] not in file.read_text() + told.stderr
    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0
    (alice,) = keys = read_keys(load_settings({}, api_keys_file=file))
    assert (alice.name, alice.limits, keys.find(secret[1].encode())) == ("alice", KeyLimits(3), alice)
    again = run("keys", "new", "alice", "--file", str(file))
    assert (again.returncode, again.stdout) == (78, "")


@pytest.mark.parametrize("audio_s", [0.001, 0.1, 600.0, 1234.5678, 1_000_000.0, 999_999_999.0])
def test_what_is_stored_is_read_again(tmp_path, audio_s):
    """Whatever the limit, to its last digit."""
    (tmp_path / "keys").write_text(entry("bulk", "x" * 40, KeyLimits(999_999, audio_s)) + "\n")
    (bulk,) = read_keys(load_settings({}, api_keys_file=tmp_path / "keys"))
    assert bulk.limits == KeyLimits(999_999, audio_s)


@pytest.mark.parametrize("limit", [["--concurrent-requests", "1000000"], ["--audio-s-per-minute", "inf"]])
def test_what_could_not_be_read_again_is_not_stored(tmp_path, limit):
    """A line that is refused would shut out the keys of all."""
    told = run("keys", "new", "bulk", "--file", str(tmp_path / "keys"), *limit)
    assert told.returncode == 2
    assert not (tmp_path / "keys").exists()


def test_a_plain_key_ends_the_start_and_is_not_shown(tmp_path):
    """With 78 and the way to do it, and `asr-service settings` hides what stands there."""
    plain = "sk-a-plain-key-that-somebody-stored-as-it-is"
    told = run("serve", ASR_API_KEYS=plain)
    assert (told.returncode, "asr-service keys new" in told.stderr) == (78, True)
    shown = run("settings", ASR_API_KEYS=plain)
    assert "ASR_API_KEYS=****" in shown.stdout
    assert plain not in told.stdout + told.stderr + shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, "ok"),
        ({"host": "0.0.0.0"}, "warning"),
        ({"host": "0.0.0.0", "api_keys": "a:sha256:" + "0" * 64}, "ok"),
        ({"api_keys": "plain"}, "failure"),
    ],
)
def test_the_doctor_says_who_may_call(settings, level):
    """A service that others reach without a key is a warning; keys that cannot be read are a failure."""
    assert [finding.level for finding in check_keys(load_settings({}, **settings))] == [level]


def test_a_service_that_is_open_to_others_says_so_in_its_log(tmp_path):
    """Once, at start."""
    with running(tmp_path, ASR_HOST="0.0.0.0") as service:
        until(lambda: "No API keys are set" in service.text(), what="the warning")
