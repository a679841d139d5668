"""Named API keys. The service stores only their hashes.

A key is 256 random bits and cannot be guessed, so a plain SHA-256 protects it as well as a slow, salted password hash
would, and costs one microsecond per request. A key that is short enough to guess is rejected, whatever its hash.
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

MIN_SECRET_CHARS: Final = 32
MAX_CONCURRENT_REQUESTS: Final = 999_999
MAX_AUDIO_S_PER_MINUTE: Final = 999_999_999.0
_MAX_KEYS: Final = 1000
"""Each key is a label value in the metrics."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_WORKER: Final = "worker"
"""The word in the entry of a job worker's key."""
_HINT: Final = "Run `asr-service keys new NAME` to make a key. It prints the entry to store: NAME:sha256:HASH."


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The limits of one key. None means no limit."""

    concurrent_requests: int | None = None
    audio_s_per_minute: float | None = None

    def __bool__(self) -> bool:
        return (self.concurrent_requests, self.audio_s_per_minute) != (None, None)


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    """Letters, digits and ._- only, so that it is safe in logs, metrics and paths."""
    digest: bytes
    """SHA-256 of the secret."""
    limits: KeyLimits = KeyLimits()
    is_worker: bool = False
    """Whether a job worker has it, which may run the jobs of all keys."""


class KeyRing:
    """All keys of the service. With an empty ring no key is required."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: bytes) -> Key | None:
        """Return the key with this secret, or None. Takes the same time whichever key matches, and how closely."""
        digest = hashlib.sha256(secret).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found if len(secret) >= MIN_SECRET_CHARS else None


def new_secret() -> str:
    """Generate a secret. Its prefix lets scanners for leaked secrets recognise it."""
    return f"asr_{secrets.token_urlsafe(32)}"


def entry(name: str, secret: str, limits: KeyLimits = KeyLimits(), *, is_worker: bool = False) -> str:
    """Write the entry that is stored for a key.

    Raises ConfigurationError: the name or a limit is invalid, or the secret is too short.
    """
    _check_name(name)
    if len(secret) < MIN_SECRET_CHARS:
        raise ConfigurationError(
            f"A key of fewer than {MIN_SECRET_CHARS} characters can be guessed. Run `asr-service keys new` to make one."
        )
    words = [f"{name}:sha256:{hashlib.sha256(secret.encode()).hexdigest()}"]
    if limits.concurrent_requests is not None:
        words.append(f"concurrent_requests={limits.concurrent_requests}")
    if limits.audio_s_per_minute is not None:
        words.append(f"audio_s_per_minute={_without_exponent(limits.audio_s_per_minute)}")
    if is_worker:
        words.append(_WORKER)
    stored = " ".join(words)
    _parse("The key", stored, KeyLimits())  # the service must be able to read what it stores
    return stored


def _without_exponent(number: float) -> str:
    digits = format(Decimal(repr(number)), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def read_keys(settings: Settings) -> KeyRing:
    """Read the keys of ASR_API_KEYS and ASR_API_KEYS_FILE, each with the limits that apply to it.

    Raises ConfigurationError: an entry is invalid. The message never quotes the entry, which might be a plain key.
    """
    default = KeyLimits(settings.key_concurrent_requests, settings.key_audio_s_per_minute)
    keys = [_parse(where, text, default) for where, text in _entries(settings)]
    for name in {key.name for key in keys}:
        if sum(key.name == name for key in keys) > 1:
            raise ConfigurationError(f"Two API keys have the name {name!r}. Give each its own.", param="ASR_API_KEYS")
    if len({key.digest for key in keys}) < len(keys):
        raise ConfigurationError("Two names have the same API key. Make a key for each.", param="ASR_API_KEYS")
    if len(keys) > _MAX_KEYS:
        raise ConfigurationError(f"There are {len(keys)} API keys; the limit is {_MAX_KEYS}.", param="ASR_API_KEYS")
    return KeyRing(keys)


def _entries(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each entry after a description of its place."""
    if settings.api_keys is not None:
        given = settings.api_keys.get_secret_value()
        yield from _numbered("ASR_API_KEYS", "entry", re.split(r"[,\n]", given))
    if settings.api_keys_file is not None:
        lines = [line.split("#")[0] for line in _read(settings.api_keys_file).splitlines()]
        yield from _numbered(f"ASR_API_KEYS_FILE ({settings.api_keys_file})", "line", lines)


def _numbered(source: str, kind: str, texts: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the entries of one source. A source without an entry is an error: it would open the service to everyone."""
    if not any(text.strip() for text in texts):
        raise ConfigurationError(f"{source} holds no key. {_HINT}", param=source.split(maxsplit=1)[0])
    yield from ((f"{source}, {kind} {n}", text.strip()) for n, text in enumerate(texts, 1) if text.strip())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")  # editors on Windows write a mark before the first line
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"ASR_API_KEYS_FILE={file} cannot be read: {reason}.", param="ASR_API_KEYS_FILE"
        ) from None


def _parse(where: str, text: str, default: KeyLimits) -> Key:
    stored, *words = text.split()
    name, kind, digest = (*stored.split(":"), "", "", "")[:3]
    if stored.count(":") != 2 or kind != "sha256" or not _HASH.fullmatch(digest):  # noqa: PLR2004
        raise ConfigurationError(
            f"{where} is not a valid entry (expected NAME:sha256:HASH). Do not store plain keys. {_HINT}"
        )
    _check_name(name, where)
    limits = default
    for word in words:
        if word != _WORKER:
            limits = _with_limit(where, limits, word)
    return Key(name, bytes.fromhex(digest), limits, is_worker=_WORKER in words)


def _check_name(name: str, where: str = "The key") -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{where}: a name must be 1 to 64 letters, digits and ._- and must begin with a letter or digit."
        )


def _with_limit(where: str, limits: KeyLimits, word: str) -> KeyLimits:
    """Add the limit `concurrent_requests=4` or `audio_s_per_minute=600`; `none` in place of the number removes it."""
    name, _, value = word.partition("=")
    if name == "concurrent_requests" and re.fullmatch(r"none|[1-9][0-9]{0,5}", value):
        return replace(limits, concurrent_requests=None if value == "none" else int(value))
    if name == "audio_s_per_minute" and re.fullmatch(r"none|(?=.*[1-9])[0-9]{0,9}(\.[0-9]{1,9})?", value):
        return replace(limits, audio_s_per_minute=None if value == "none" else float(value))
    raise ConfigurationError(
        f"{where} has an invalid limit. After the hash, an entry may have concurrent_requests=NUMBER (1 to "
        f"{MAX_CONCURRENT_REQUESTS}) and audio_s_per_minute=NUMBER (more than 0, at most {MAX_AUDIO_S_PER_MINUTE:.0f}, "
        "at most nine decimals), each a number or `none`, and the word worker for the key of a job worker."
    )
