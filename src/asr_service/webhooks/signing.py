"""Signatures as https://www.standardwebhooks.com describes them. OpenAI's SDKs verify them unchanged."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

_PREFIX: Final = "whsec_"
_MIN_BYTES: Final = 24
_NEW_BYTES: Final = 32
_MAX_SECRETS: Final = 2


def new_secret() -> str:
    """Return a random secret, `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Return the keys of one secret, or of two with a comma between them.

    Raises ValueError: when there are more than two, or one is not `whsec_` and the base64 of at least 24 bytes. The
    message has no part of a secret.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > _MAX_SECRETS:
        raise ValueError(f"expected one secret, or two with a comma between them, not {len(parts)}")
    return tuple(_parse(part) for part in parts)


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message. There is one signature for each key, so that a receiver can rotate them.

    `timestamp` is in seconds since the epoch. Receivers refuse one that is more than five minutes off.
    """
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digests = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join("v1," + base64.b64encode(digest).decode() for digest in digests),
    }


def _parse(secret: str) -> bytes:
    problem = ValueError(
        f"expected `{_PREFIX}` and the base64 of at least {_MIN_BYTES} bytes; `asr-service webhooks secret` makes one"
    )
    if not secret.startswith(_PREFIX):
        raise problem
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise problem from None
    if len(key) < _MIN_BYTES:
        raise problem
    return key
