"""API keys: entries are read and written, mistakes are refused, and only the right secret matches."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_service.access.keys import Key, KeyLimits, KeyRing, entry, new_secret, read_keys
from asr_service.errors import ConfigurationError
from asr_service.settings import load_settings

SECRET = "not-a-real-key-but-long-enough-to-be-one"
HASH = hashlib.sha256(SECRET.encode()).hexdigest()


def ring(entries: str | None, **settings: str) -> list[Key]:
    return list(read_keys(load_settings({}, api_keys=entries, **settings)))


def test_an_entry_reads_back_as_it_was_written():
    """The name, the hash and the limits survive. Each secret finds its own key, and no other text does."""
    secrets = {name: new_secret() for name in ("alice", "bob.2", "c_-")}
    limits = {"alice": KeyLimits(), "bob.2": KeyLimits(3, 0.5), "c_-": KeyLimits(None, 600)}
    entries = ", ".join(entry(name, secret, limits[name]) for name, secret in secrets.items())
    keys = KeyRing(ring(entries))
    assert {key.name: key.limits for key in keys} == limits
    for name, secret in secrets.items():
        found = keys.find(secret.encode())
        assert found
        assert found.name == name
        assert keys.find(secret.encode() + b"x") is keys.find(secret.encode()[:-1]) is None
        assert secret not in entries
    assert len(set(secrets.values())) == 3
    assert min(map(len, secrets.values())) > 40


def test_the_limits_of_an_entry_override_the_default_limits(tmp_path):
    """`none` removes a limit. Comments and empty lines of the file are ignored."""
    file = tmp_path / "keys"
    other = hashlib.sha256(b"other").hexdigest()
    file.write_text(f"# ours\n\nbob:sha256:{other}  audio_s_per_minute=none concurrent_requests=9  # Bob's\n")
    keys = ring(
        f"alice:sha256:{HASH}", api_keys_file=str(file), key_concurrent_requests="2", key_audio_s_per_minute="60"
    )
    assert [key.limits for key in keys] == [KeyLimits(2, 60.0), KeyLimits(9, None)]


def test_a_byte_order_mark_of_the_file_is_ignored(tmp_path):
    """Editors on Windows write one."""
    file = tmp_path / "keys"
    file.write_text(f"\ufeffalice:sha256:{HASH}\r\n")
    (key,) = ring(None, api_keys_file=str(file))
    assert key.name == "alice"


@pytest.mark.parametrize(
    "wrong",
    [
        SECRET, f"alice:{SECRET}", f"alice:sha256:{SECRET}", f"alice:sha256:{HASH[:-1]}",
        f"alice:sha256:{HASH.upper()}",
        f"alice:md5:{HASH}", f"{SECRET * 2}:sha256:{HASH}", f":sha256:{HASH}", f"../alice:sha256:{HASH}", ",", " ",
        f"alice:sha256:{HASH} {SECRET}", f"alice:sha256:{HASH} concurrent_requests=0",
        f"alice:sha256:{HASH} concurrent_requests=1\u0663", f"alice:sha256:{HASH} audio_s_per_minute=\u0663",
        f"alice:sha256:{HASH} audio_s_per_minute=0", f"alice:sha256:{HASH} audio_s_per_minute=inf",
        f"alice:sha256:{HASH},alice:sha256:{HASH[::-1]}", f"alice:sha256:{HASH},bob:sha256:{HASH}",
    ],
)  # fmt: skip
def test_an_invalid_entry_is_refused_without_quoting_it(wrong):
    """The entry may be a plain key, so the message does not contain it."""
    with pytest.raises(ConfigurationError) as refused:
        ring(wrong)
    assert SECRET not in refused.value.message
    assert HASH not in refused.value.message


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\n", None])
def test_a_file_without_keys_is_refused(tmp_path, content):
    """An empty, unreadable or absent file is an error: a service without keys would be open to everyone."""
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ConfigurationError, match="ASR_API_KEYS_FILE"):
        read_keys(load_settings({}, api_keys_file=str(tmp_path / "keys")))


def test_a_short_secret_is_refused():
    """No entry can be made from it, and an entry that was made by hand does not match."""
    with pytest.raises(ConfigurationError, match="guessed"):
        entry("alice", "hunter2")
    by_hand = KeyRing(ring(f"alice:sha256:{hashlib.sha256(b'hunter2').hexdigest()}"))
    assert by_hand.find(b"hunter2") is None


@given(st.binary(max_size=200))
def test_no_other_bytes_match_a_key(shown):
    """Any bytes other than the secret are rejected."""
    assert (KeyRing(ring(f"alice:sha256:{HASH}")).find(shown) is not None) == (shown == SECRET.encode())


def test_the_key_of_a_job_worker_is_marked_in_its_entry():
    """With limits or without. All other keys are keys of callers."""
    secret = new_secret()
    stored = entry("jobs", secret, KeyLimits(4, None), is_worker=True)
    assert stored.endswith(" concurrent_requests=4 worker")
    (key,) = read_keys(load_settings({}, api_keys=stored))
    assert (key.is_worker, key.limits) == (True, KeyLimits(4, None))
    (key,) = read_keys(load_settings({}, api_keys=entry("alice", secret)))
    assert not key.is_worker
