"""Signatures that receivers verify, here with the unmodified SDK of OpenAI."""

import time

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from asr_service.webhooks.signing import new_secret, parse_secrets, sign

BODY = '{"id":"evt_1","object":"event","data":{"id":"job_1","text":"héllo"}}'.encode()


def verify(headers: dict[str, str], secret: str, body: bytes = BODY) -> None:
    OpenAI(api_key="none").webhooks.verify_signature(body.decode(), headers, secret=secret)


def test_openais_sdk_verifies_a_signature() -> None:
    secret = new_secret()
    verify(sign(parse_secrets(secret), "evt_1", int(time.time()), BODY), secret)


def test_each_of_two_secrets_verifies_the_same_message() -> None:
    """A receiver can change to the new secret at any time while the sender has both."""
    old, new = new_secret(), new_secret()
    headers = sign(parse_secrets(f"{new}, {old}"), "evt_1", int(time.time()), BODY)
    verify(headers, old)
    verify(headers, new)


@pytest.mark.parametrize("changed", [{"webhook-id": "evt_2"}, {"webhook-timestamp": str(int(time.time()) - 1)}])
def test_a_changed_header_is_found(changed: dict[str, str]) -> None:
    secret = new_secret()
    headers = sign(parse_secrets(secret), "evt_1", int(time.time()), BODY)
    with pytest.raises(InvalidWebhookSignatureError):
        verify(headers | changed, secret)


def test_a_changed_body_is_found() -> None:
    secret = new_secret()
    headers = sign(parse_secrets(secret), "evt_1", int(time.time()), BODY)
    with pytest.raises(InvalidWebhookSignatureError):
        verify(headers, secret, BODY.replace(b"job_1", b"job_2"))


@pytest.mark.parametrize(
    "secrets", ["", "secret", "whsec_", "whsec_short", "whsec_" + "!" * 40, ",".join(new_secret() for _ in range(3))]
)
def test_an_invalid_secret_is_refused_without_being_shown(secrets: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_secrets(secrets)
    assert len(secrets) < 10 or secrets not in str(caught.value)
