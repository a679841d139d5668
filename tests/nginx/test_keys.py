"""Who has no key sends nothing: Nginx asks a slot for its word before it receives an upload."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.live import ALL, tone
from asr_service.access.keys import entry, new_secret
from asr_service.settings import load_settings
from nginx.proxy import Certificate, Nginx, needs_nginx, proxying
from serving.harness import Service, running
from waiting import until

pytestmark = needs_nginx

SECRET = new_secret()
ENTRY = entry("alice", SECRET)
PAGE = "https://app.example.com"


@dataclass(frozen=True)
class Keyed:
    """Two slots that ask for keys, behind Nginx."""

    nginx: Nginx
    service: Service

    def announce(self, *headers: str, method: str = "POST", patience_s: float = 20) -> str | None:
        """Send an upload's head and nothing more. Gives the answer, or None where Nginx waits for the upload."""
        head = [
            f"{method} /transcribe HTTP/1.1",
            "Host: localhost",
            "Content-Length: 6000000",
            "Content-Type: audio/wav",
        ]
        with self.nginx.connect() as client:
            client.sendall("\r\n".join([*head, *headers, "", ""]).encode())
            client.settimeout(patience_s)
            try:
                return client.recv(65536).decode()
            except TimeoutError:
                return None


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    given = {"api_keys": ENTRY, "devices": "cpu,cpu", "cors_origins": PAGE}
    environ = {f"ASR_{name.upper()}": value for name, value in given.items()}
    with running(folder / "service", None, FAKE_MODEL="0", **environ) as service:
        settings = load_settings({}, socket_dir=service.directory / "run", **given)
        with proxying(folder / "nginx", settings, Certificate(folder / "tls")) as nginx:
            for slot in (0, 1):
                until(service.socket(slot).exists, within_s=60, what="the slot")
            yield Keyed(nginx, service)


@pytest.mark.parametrize(
    ("header", "status"), [("X-Nothing: at-all", 401), (f"X-API-Key: {new_secret()}", 403)], ids=["none", "another"]
)
def test_an_upload_without_a_key_is_refused_at_its_head(keyed: Keyed, header: str, status: int) -> None:
    """In the service's own words, with what a browser's page needs to read them. It is counted once."""
    answer = keyed.announce(header, f"Origin: {PAGE}", f"X-Request-ID: refused-{status}")
    assert answer is not None
    head, _, body = answer.lower().partition("\r\n\r\n")
    assert f" {status} " in head.splitlines()[0]
    assert f"access-control-allow-origin: {PAGE}" in head
    assert f"x-request-id: refused-{status}" in head
    assert head.count("\r\nx-request-id:") == 1
    assert ("www-authenticate" in head, "api key" in body) == (True, True)
    lines = until(lambda: [e for e in keyed.service.lines("request") if e["request_id"] == f"refused-{status}"])
    assert [line["status"] for line in lines] == [status]


def test_contradicting_keys_are_refused_at_the_uploads_head(keyed: Keyed) -> None:
    """In the service's own words: it tells what is wrong with them."""
    answer = keyed.announce("X-API-Key: a", "Authorization: Bearer b", patience_s=5)
    assert answer is not None
    assert answer.startswith("HTTP/1.1 400 ")
    assert "more than one API key" in answer


def test_what_needs_no_key_is_answered_at_its_head(keyed: Keyed) -> None:
    """A browser's question whether it may ask has no body. What comes with one is not kept."""
    asked = ("Access-Control-Request-Method: POST", f"Origin: {PAGE}")
    answer = keyed.announce(*asked, method="OPTIONS", patience_s=5)
    assert answer is not None
    assert answer.startswith("HTTP/1.1 200 ")
    assert f"access-control-allow-origin: {PAGE}" in answer


@pytest.mark.parametrize("key", [SECRET, "none-of-its"], ids=["its key", "no key"])
@pytest.mark.parametrize(
    "headers",
    [{f"a{n}": "b" for n in range(101)}, {f"a{n}": "b" * 30_000 for n in range(3)}],
    ids=["many", "long"],
)
def test_headers_that_a_slot_does_not_take_are_refused_in_its_own_words(
    keyed: Keyed, headers: dict[str, str], key: str
) -> None:
    """The question for the key is asked without them."""
    answer = keyed.nginx.get("/languages", headers=headers | {"x-api-key": key})
    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "head_too_large")
    assert "retry-after" not in answer.headers


def test_a_key_that_a_slot_does_not_take_is_refused_in_its_own_words(keyed: Keyed) -> None:
    answer = keyed.announce(f"X-API-Key: {'k' * 65_500}", patience_s=5)
    assert answer is not None
    assert answer.startswith("HTTP/1.1 431 ")


@pytest.mark.parametrize("name", ["key", "malformed", "head-too-large"])
def test_nginx_own_addresses_are_not_for_clients(keyed: Keyed, name: str) -> None:
    answer = keyed.nginx.get(f"/asr-service/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_with_a_key_nginx_waits_for_the_upload(keyed: Keyed) -> None:
    """And then answers it; what a page asks beforehand, and what is open to all, needs no key."""
    assert keyed.announce(f"Authorization: Bearer {SECRET}", patience_s=1) is None
    sent: dict[str, Any] = {"files": {"file": ("speech.wav", tone())}, "data": ALL, "headers": {"x-api-key": SECRET}}
    assert keyed.nginx.request("POST", "/transcribe", **sent).status_code == 200
    preflight = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    assert keyed.nginx.request("OPTIONS", "/transcribe", headers=preflight).status_code == 200
    assert keyed.nginx.get("/docs").status_code == 200
    assert 'asr_key_requests_total{code="200",key="alice"} 1.0' in keyed.nginx.get("/metrics").text


def test_requests_one_after_another_use_all_slots(keyed: Keyed) -> None:
    """The question for the key takes no turn of theirs."""
    names = [f"turn-{n}" for n in range(4)]
    for name in names:
        given = {"x-api-key": SECRET, "x-request-id": name}
        assert keyed.nginx.get("/languages", headers=given).status_code == 200
    used = [keyed.nginx.logged(name)["upstream"] for name in names]
    assert sorted(used) == [f"unix:{keyed.service.socket(slot)}" for slot in (0, 0, 1, 1)]


def test_a_probe_takes_no_upload(keyed: Keyed) -> None:
    """It is open to all and has no limits, so that nothing of a body is kept for it."""
    answer = keyed.nginx.post("/health/live", body=bytes(2000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "upload_too_large")


def test_slots_that_ask_for_no_keys_are_let_answer(keyed: Keyed, tmp_path: Path) -> None:
    """Nginx may have been rendered with keys before the service has them."""
    with running(tmp_path / "service", None, FAKE_MODEL="0", ASR_DEVICES="cpu,cpu") as service:
        settings = load_settings({}, socket_dir=service.directory / "run", devices="cpu,cpu", api_keys=ENTRY)
        with proxying(tmp_path / "nginx", settings, keyed.nginx.certificate) as nginx:
            until(service.socket(0).exists, within_s=60, what="the slot")
            answer = nginx.get("/languages", headers={"x-request-id": "no-keys"})
            assert answer.status_code == 200
            assert nginx.logged("no-keys")["upstream_status"] == "200"


def test_without_a_slot_to_ask_it_is_said_when_to_come_again(keyed: Keyed) -> None:
    """The question that nobody answers is no refusal."""
    keyed.service.signal(signal.SIGTERM)
    assert keyed.service.ended() == 0
    answer = keyed.nginx.post("/transcribe", headers={"x-api-key": "anything"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert answer.headers["retry-after"] == "5"
