"""One attempt at a receiver on this machine: what counts as delivered, what is tried again, and what is given up."""

import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
import trustme
from openai import OpenAI

from asr_service.access.networks import parse_networks
from asr_service.webhooks import delivery
from asr_service.webhooks.delivery import RETRY_DELAYS_S, DeliveryAttempt, DeliveryOutcome, deliver, retry_delay_s
from asr_service.webhooks.events import EventType, build_message
from asr_service.webhooks.signing import new_secret, parse_secrets
from webhooks.receiver import Receiver, receiving

SECRET = new_secret()


def send(url: str, allowed: str = "127.0.0.0/8") -> DeliveryAttempt:
    async def main() -> DeliveryAttempt:
        message = build_message("evt_1", url, EventType.SUCCEEDED, 1_700_000_000, {"id": "job_1", "note": "café"})
        return await deliver(message, keys=parse_secrets(SECRET), allowed=parse_networks(allowed) if allowed else ())

    return anyio.run(main)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def test_a_message_arrives_once_and_verifies(receiver: Receiver) -> None:
    attempt = send(f"http://127.0.0.1:{receiver.port}/hook?x=1")
    assert (attempt.outcome, attempt.status, attempt.error) == (DeliveryOutcome.DELIVERED, 204, None)
    [body], [headers] = receiver.bodies, receiver.headers
    OpenAI(api_key="none").webhooks.verify_signature(body.decode(), headers, secret=SECRET)
    assert json.loads(body) == {
        "id": "evt_1", "object": "event", "created_at": 1_700_000_000, "type": "transcription.job.succeeded",
        "data": {"id": "job_1", "note": "café"},
    }  # fmt: skip
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, DeliveryOutcome.DELIVERED) for status in (200, 202)),
        *((status, DeliveryOutcome.RETRY) for status in (408, 425, 429, 500, 503)),
        *((status, DeliveryOutcome.REJECTED) for status in (400, 404, 410)),
    ],
)
def test_the_status_decides_what_follows(receiver: Receiver, status: int, outcome: DeliveryOutcome) -> None:
    receiver.status = status
    attempt = send(f"http://127.0.0.1:{receiver.port}/")
    assert (attempt.outcome, attempt.status) == (outcome, status)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.status, receiver.location = 302, f"http://127.0.0.1:{elsewhere.port}/"
        attempt = send(f"http://127.0.0.1:{receiver.port}/")
        assert (attempt.outcome, attempt.status) == (DeliveryOutcome.REJECTED, 302)
        assert elsewhere.bodies == []


def test_a_receiver_that_cannot_be_reached_is_tried_again(receiver: Receiver) -> None:
    attempt = send("http://127.0.0.1:1/")
    assert (attempt.outcome, attempt.status) == (DeliveryOutcome.RETRY, None)
    assert attempt.error


def test_a_slow_receiver_is_tried_again(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_TIMEOUT_S", 0.2)
    receiver.delay = threading.Event()
    attempt = send(f"http://127.0.0.1:{receiver.port}/")
    receiver.delay.set()
    assert (attempt.outcome, attempt.status) == (DeliveryOutcome.RETRY, None)
    assert "within 0.2 s" in str(attempt.error)


def test_a_private_receiver_gets_nothing_if_its_network_is_not_allowed(receiver: Receiver) -> None:
    attempt = send(f"https://localhost:{receiver.port}/", allowed="")
    assert attempt.outcome is DeliveryOutcome.REJECTED
    assert "not a public address" in str(attempt.error)
    assert receiver.bodies == []


def test_tls_is_verified_by_the_name_of_the_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with receiving(context) as receiver:
        attempt = send(f"https://localhost:{receiver.port}/")
        assert attempt.outcome is DeliveryOutcome.RETRY
        assert "CERTIFICATE_VERIFY_FAILED" in str(attempt.error)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert send(f"https://localhost:{receiver.port}/").outcome is DeliveryOutcome.DELIVERED
        attempt = send(f"https://127.0.0.1:{receiver.port}/")
        assert attempt.outcome is DeliveryOutcome.RETRY
        assert "CERTIFICATE_VERIFY_FAILED" in str(attempt.error)


def test_certificates_are_not_read_on_the_event_loop(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold up all requests of the slot at each attempt."""
    create, threads = httpx.create_ssl_context, []

    def created() -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return create()

    monkeypatch.setattr(httpx, "create_ssl_context", created)
    assert send(f"https://127.0.0.1:{receiver.port}/").outcome is DeliveryOutcome.RETRY
    assert threads
    assert threading.main_thread() not in threads


def test_five_attempts_follow_at_growing_delays() -> None:
    for n_attempts, least in enumerate(RETRY_DELAYS_S):
        delay = retry_delay_s(n_attempts)
        assert delay is not None
        assert least <= delay <= least * 1.1
    assert retry_delay_s(len(RETRY_DELAYS_S)) is None
