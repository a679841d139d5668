"""Who may call: named keys, of which the service knows the hashes alone.

A key is 256 random bits. Nobody finds it by guessing, so its plain SHA-256 keeps it as well as a password's slow,
salted hash would, and costs a microsecond a request. What is short enough to be guessed is no key, whatever its hash.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from asr_service.errors import ConfigurationError
from asr_service.settings import Settings

SHORTEST_SECRET: Final = 32
"""Characters."""
MOST_CONCURRENT_REQUESTS: Final = 999_999
MOST_AUDIO_S_PER_MINUTE: Final = 999_999_999.0
_MOST_KEYS: Final = 1000  # each is a label of the metrics
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_HOW: Final = "`asr-service keys new NAME` makes a key and prints the entry to store: NAME:sha256:HASH"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """None is no limit."""

    concurrent_requests: int | None = None
    audio_s_per_minute: float | None = None

    def __bool__(self) -> bool:
        return (self.concurrent_requests, self.audio_s_per_minute) != (None, None)


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    """Letters, digits and ._-, so that it may stand in a log, a metric and a path."""
    digest: bytes
    """SHA-256 of the secret."""
    limits: KeyLimits = KeyLimits()


class KeyRing:
    """The keys there are; empty where the service is open to all."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: bytes) -> Key | None:
        """The secret's key, in a time that does not depend on which it is or on how nearly one matches."""
        digest = hashlib.sha256(secret).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found if len(secret) >= SHORTEST_SECRET else None


def new_secret() -> str:
    """A key for a caller, with a mark that scanners for leaked secrets can look for."""
    return f"asr_{secrets.token_urlsafe(32)}"


def entry(name: str, secret: str, limits: KeyLimits = KeyLimits()) -> str:  # frozen
    """What is stored of a key. Raises ConfigurationError: the name or a limit is refused, or the secret can be
    guessed.
    """
    _check_name(name)
    if len(secret) < SHORTEST_SECRET:
        raise ConfigurationError(
            f"a key of less than {SHORTEST_SECRET} characters can be guessed; `asr-service keys new` makes a good one"
        )
    words = [f"{name}:sha256:{hashlib.sha256(secret.encode()).hexdigest()}"]
    if limits.concurrent_requests is not None:
        words.append(f"concurrent_requests={limits.concurrent_requests}")
    if limits.audio_s_per_minute is not None:
        words.append(f"audio_s_per_minute={_plainly(limits.audio_s_per_minute)}")
    stored = " ".join(words)
    _parse("a key", stored, KeyLimits())  # what is stored is to be read again
    return stored


def _plainly(number: float) -> str:
    """All its digits and no exponent, as an entry has it."""
    written = format(Decimal(repr(number)), "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


def read_keys(settings: Settings) -> KeyRing:
    """The keys of ASR_API_KEYS and ASR_API_KEYS_FILE, each with the limits that hold for it.

    Raises ConfigurationError, which never repeats what stands there: it might be a key.
    """
    default = KeyLimits(settings.key_concurrent_requests, settings.key_audio_s_per_minute)
    keys = [_parse(where, text, default) for where, text in _entries(settings)]
    for name in {key.name for key in keys}:
        if sum(key.name == name for key in keys) > 1:
            raise ConfigurationError(f"two keys have the name {name!r}", param="ASR_API_KEYS")
    if len({key.digest for key in keys}) < len(keys):
        raise ConfigurationError("one key stands there under two names", param="ASR_API_KEYS")
    if len(keys) > _MOST_KEYS:
        raise ConfigurationError(f"there are {len(keys)} keys, and {_MOST_KEYS} at most", param="ASR_API_KEYS")
    return KeyRing(keys)


def _entries(settings: Settings) -> Iterator[tuple[str, str]]:
    """Where an entry stands, and the entry."""
    if settings.api_keys is not None:
        given = settings.api_keys.get_secret_value()
        yield from _not_none("ASR_API_KEYS", "entry", re.split(r"[,\n]", given))
    if settings.api_keys_file is not None:
        lines = [line.split("#")[0] for line in _read(settings.api_keys_file).splitlines()]
        yield from _not_none(f"ASR_API_KEYS_FILE ({settings.api_keys_file})", "line", lines)


def _not_none(source: str, kind: str, texts: list[str]) -> Iterator[tuple[str, str]]:
    """A list of keys without a key is a mistake that would open the service to all."""
    if not any(text.strip() for text in texts):
        raise ConfigurationError(f"{source} holds no key; {_HOW}", param=source.split(maxsplit=1)[0])
    yield from ((f"{source}, {kind} {n}", text.strip()) for n, text in enumerate(texts, 1) if text.strip())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"ASR_API_KEYS_FILE: {file}: {why}", param="ASR_API_KEYS_FILE") from None


def _parse(where: str, text: str, default: KeyLimits) -> Key:
    stored, *words = text.split()
    name, kind, digest = (*stored.split(":"), "", "", "")[:3]
    if stored.count(":") != 2 or kind != "sha256" or not _HASH.fullmatch(digest):  # noqa: PLR2004
        raise ConfigurationError(f"{where} is no entry, maybe a plain key, which is not to be stored; {_HOW}")
    _check_name(name, where)
    limits = default
    for word in words:
        limits = _with_limit(where, limits, word)
    return Key(name, bytes.fromhex(digest), limits)


def _check_name(name: str, where: str = "a key") -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{where}: a name is 1 to 64 letters, digits and ._- and begins with a letter or digit"
        )


def _with_limit(where: str, limits: KeyLimits, word: str) -> KeyLimits:
    """`concurrent_requests=4` or `audio_s_per_minute=600`, or `none` in place of the number."""
    name, _, value = word.partition("=")
    if name == "concurrent_requests" and re.fullmatch(r"none|[1-9]\d{0,5}", value):
        return replace(limits, concurrent_requests=None if value == "none" else int(value))
    if name == "audio_s_per_minute" and re.fullmatch(r"none|(?=.*[1-9])\d{0,9}(\.\d{1,9})?", value):
        return replace(limits, audio_s_per_minute=None if value == "none" else float(value))
    raise ConfigurationError(
        f"{where}: after the hash may stand concurrent_requests=NUMBER and audio_s_per_minute=NUMBER, each more than 0 "
        f"or `none`, and at most {MOST_CONCURRENT_REQUESTS} and {MOST_AUDIO_S_PER_MINUTE:.0f}, with nine digits after "
        "the point"
    )
