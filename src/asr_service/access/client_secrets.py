"""Short-lived keys for browsers, signed so that every slot and machine with the same API keys can check them.

The signing key follows from the stored hash of the API key that makes the secret. So no slot has to store anything, and
a secret ends with its API key. A person who can read the stored entries of the keys can make client secrets too.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Final

from pydantic_core import from_json

from asr_service.access.keys import Key, KeyRing
from asr_service.errors import InvalidParameter, WrongKey

PREFIX: Final = "ek_"
_MAX_CHARS: Final = 7_500
"""A browser sends the secret in a header, and the library `websockets` accepts lines of 8 KiB."""
_PURPOSE: Final = b"asr-service client secret 1"
_SIGNATURE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ClientSecret:
    key: Key | None
    """The API key that made the secret, and whose limits hold. None in a service without keys."""
    expires_at: int
    """Seconds since 1970. A session that has begun may last longer."""
    session: str
    """The session's configuration as JSON."""


def issue_secret(secret: ClientSecret) -> str:
    """Return the text that a browser sends. It has only characters that a WebSocket's sub-protocol may have.

    Raises InvalidParameter: the session's configuration is too long.
    """
    name = "" if secret.key is None else secret.key.name
    payload = json.dumps([name, secret.expires_at, secret.session], separators=(",", ":"), ensure_ascii=False).encode()
    text = PREFIX + _encode(_sign(secret.key, payload) + payload)
    if len(text) > _MAX_CHARS:
        raise InvalidParameter(
            "The session is too long for a client secret. Send its prompt and keywords in session.update.",
            param="session",
        )
    return text


def read_secret(text: str, ring: KeyRing, now_s: float) -> ClientSecret:
    """Check a secret. `now_s` is the time in seconds since 1970.

    Raises WrongKey: it was not made by one of these keys, its key has gone, or it has expired.
    """
    signature, payload = _parts(text)
    try:
        name, expires_at, session = json.loads(payload)
    except (ValueError, RecursionError, TypeError):
        raise _invalid() from None
    key = next((key for key in ring if key.name == name), None)
    if (key is None and ring) or not hmac.compare_digest(signature, _sign(key, payload)):
        raise _invalid()
    if not isinstance(expires_at, int) or not _is_object(session):
        raise _invalid()  # without keys, anyone can sign one
    if expires_at <= now_s:
        raise WrongKey("This client secret has expired. Make another one with POST /v1/realtime/client_secrets.")
    return ClientSecret(key, expires_at, session)


def _is_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(from_json(text), dict)
    except ValueError:
        return False


def _sign(key: Key | None, payload: bytes) -> bytes:
    signing_key = hmac.digest(b"" if key is None else key.digest, _PURPOSE, hashlib.sha256)
    return hmac.digest(signing_key, payload, hashlib.sha256)


def _parts(text: str) -> tuple[bytes, bytes]:
    """Return the signature and what it signs."""
    if len(text) > _MAX_CHARS or not text.startswith(PREFIX):
        raise _invalid()
    try:
        decoded = base64.b64decode(_padded(text.removeprefix(PREFIX)), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    return decoded[:_SIGNATURE_BYTES], decoded[_SIGNATURE_BYTES:]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


def _invalid() -> WrongKey:
    return WrongKey("Invalid client secret.")
