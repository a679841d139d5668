"""Keys: made once, stored as hashes, and found by nobody who lacks one."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_service.access.keys import Key, KeyLimits, KeyRing, entry, new_secret, read_keys
from asr_service.errors import ConfigurationError
from asr_service.settings import load_settings

SECRET = "not-a-real-key-but-long-enough-to-be-one"
HASH = hashlib.sha256(SECRET.encode()).hexdigest()


def ring(entries: str, **settings: str) -> list[Key]:
    return list(read_keys(load_settings({}, api_keys=entries, **settings)))


def test_an_entry_is_read_as_it_was_made():
    """Name, hash and limits; the secret of each opens it, and nothing else does."""
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


def test_a_keys_own_limits_go_before_those_of_all(tmp_path):
    """`none` lifts a limit; comments and empty lines of the file count for nothing."""
    file = tmp_path / "keys"
    other = hashlib.sha256(b"other").hexdigest()
    file.write_text(f"# ours\n\nbob:sha256:{other}  audio_s_per_minute=none concurrent_requests=9  # Bob's\n")
    keys = ring(
        f"alice:sha256:{HASH}", api_keys_file=str(file), key_concurrent_requests="2", key_audio_s_per_minute="60"
    )
    assert [key.limits for key in keys] == [KeyLimits(2, 60.0), KeyLimits(9, None)]


@pytest.mark.parametrize(
    "wrong",
    [
        SECRET, f"alice:{SECRET}", f"alice:sha256:{SECRET}", f"alice:sha256:{HASH[:-1]}",
        f"alice:sha256:{HASH.upper()}",
        f"alice:md5:{HASH}", f"{SECRET * 2}:sha256:{HASH}", f":sha256:{HASH}", f"../alice:sha256:{HASH}", ",", " ",
        f"alice:sha256:{HASH} {SECRET}", f"alice:sha256:{HASH} concurrent_requests=0",
        f"alice:sha256:{HASH} audio_s_per_minute=0", f"alice:sha256:{HASH} audio_s_per_minute=inf",
        f"alice:sha256:{HASH},alice:sha256:{HASH[::-1]}", f"alice:sha256:{HASH},bob:sha256:{HASH}",
    ],
)  # fmt: skip
def test_a_mistake_is_refused_and_not_repeated(wrong):
    """A plain key among them: the message says how to store it and does not show it."""
    with pytest.raises(ConfigurationError) as refused:
        ring(wrong)
    assert SECRET not in refused.value.message
    assert HASH not in refused.value.message


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\n", None])
def test_a_file_without_keys_opens_nothing(tmp_path, content):
    """Empty, unreadable or absent, it is refused: a service without keys would be open to all."""
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ConfigurationError, match="ASR_API_KEYS_FILE"):
        read_keys(load_settings({}, api_keys_file=str(tmp_path / "keys")))


def test_what_can_be_guessed_is_no_key():
    """Neither is it made into an entry, nor does one that was made by hand open anything."""
    with pytest.raises(ConfigurationError, match="guessed"):
        entry("alice", "hunter2")
    by_hand = KeyRing(ring(f"alice:sha256:{hashlib.sha256(b'hunter2').hexdigest()}"))
    assert by_hand.find(b"hunter2") is None


@given(st.binary(max_size=200))
def test_no_other_bytes_open_a_key(shown):
    """Whatever they are."""
    assert (KeyRing(ring(f"alice:sha256:{HASH}")).find(shown) is not None) == (shown == SECRET.encode())
