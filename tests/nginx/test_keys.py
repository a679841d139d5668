"""Without a key nothing is uploaded: Nginx asks a slot about the key before it receives an upload."""

import re
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
    """Nginx in front of two slots that require API keys."""

    nginx: Nginx
    service: Service

    def announce(self, *headers: str, method: str = "POST", patience_s: float = 20) -> str | None:
        """Send only the headers of an upload. Returns the answer, or None if Nginx waits for the body."""
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
    # Nginx restricts /metrics itself, whatever addresses the service accepts.
    given = {"api_keys": ENTRY, "devices": "cpu,cpu", "cors_origins": PAGE, "metrics_inside": "10.0.0.0/8"}
    environ = {f"ASR_{name.upper()}": value for name, value in given.items()}
    with running(folder / "service", None, FAKE_MODEL="0", **environ) as service:
        settings = load_settings({}, socket_dir=service.directory / "run", **given)
        with proxying(folder / "nginx", settings, Certificate(folder / "tls")) as nginx:
            for slot in (0, 1):
                until(service.socket(slot).exists, within_s=60, what="the slot")
            yield Keyed(nginx, service)


@pytest.mark.parametrize(
    ("header", "name"),
    [("X-Nothing: at-all", "missing"), (f"X-API-Key: {new_secret()}", "wrong")],
    ids=["none", "another"],
)
def test_an_upload_without_a_key_is_refused_before_its_body(keyed: Keyed, header: str, name: str) -> None:
    """The answer is the service's own, with the CORS headers that a page needs. It is counted once."""
    answer = keyed.announce(header, f"Origin: {PAGE}", f"X-Request-ID: refused-{name}")
    assert answer is not None
    head, _, body = answer.lower().partition("\r\n\r\n")
    assert " 401 " in head.splitlines()[0]
    assert f"access-control-allow-origin: {PAGE}" in head
    assert f"x-request-id: refused-{name}" in head
    assert head.count("\r\nx-request-id:") == 1
    assert ("www-authenticate" in head, "api key" in body) == (True, True)
    lines = until(lambda: [e for e in keyed.service.lines("request") if e["request_id"] == f"refused-{name}"])
    assert [line["status"] for line in lines] == [401]


def test_two_different_keys_are_refused_before_the_body(keyed: Keyed) -> None:
    """The answer is the service's own, and names the problem."""
    answer = keyed.announce("X-API-Key: a", "Authorization: Bearer b", patience_s=5)
    assert answer is not None
    assert answer.startswith("HTTP/1.1 400 ")
    assert "more than one API key" in answer


def test_a_preflight_is_answered_before_its_body(keyed: Keyed) -> None:
    """A CORS preflight has no body; if one comes, it is not stored."""
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
def test_headers_beyond_the_limits_of_a_slot_get_its_own_answer(
    keyed: Keyed, headers: dict[str, str], key: str
) -> None:
    """Nginx checks the key without these headers."""
    answer = keyed.nginx.get("/languages", headers=headers | {"x-api-key": key})
    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "head_too_large")
    assert "retry-after" not in answer.headers


def test_a_key_beyond_the_limits_of_a_slot_gets_its_own_answer(keyed: Keyed) -> None:
    answer = keyed.announce(f"X-API-Key: {'k' * 65_500}", patience_s=5)
    assert answer is not None
    assert answer.startswith("HTTP/1.1 431 ")


@pytest.mark.parametrize("name", ["key", "malformed", "head-too-large"])
def test_nginx_internal_urls_are_not_for_clients(keyed: Keyed, name: str) -> None:
    answer = keyed.nginx.get(f"/asr-service/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/health/slots/7", "/health/slots/", "/health/slots/0x"])
def test_a_slot_that_does_not_exist_is_not_found_without_a_key(keyed: Keyed, path: str) -> None:
    """The health of existing slots needs no key, so the answer for others is not that a key is missing."""
    answer = keyed.nginx.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_with_a_key_nginx_waits_for_the_upload(keyed: Keyed) -> None:
    """Then it is answered. Preflights and public URLs need no key."""
    assert keyed.announce(f"Authorization: Bearer {SECRET}", patience_s=1) is None
    sent: dict[str, Any] = {"files": {"file": ("speech.wav", tone())}, "data": ALL, "headers": {"x-api-key": SECRET}}
    assert keyed.nginx.request("POST", "/transcribe", **sent).status_code == 200
    preflight = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    assert keyed.nginx.request("OPTIONS", "/transcribe", headers=preflight).status_code == 200
    assert keyed.nginx.get("/docs").status_code == 200
    assert 'asr_key_requests_total{code="200",key="alice"} 1.0' in keyed.nginx.get("/metrics").text


def test_requests_one_after_another_use_all_slots(keyed: Keyed) -> None:
    """The checks of the keys do not disturb the balance between the slots."""
    names = [f"turn-{n}" for n in range(4)]
    for name in names:
        given = {"x-api-key": SECRET, "x-request-id": name}
        assert keyed.nginx.get("/languages", headers=given).status_code == 200
    used = [keyed.nginx.logged(name)["upstream"] for name in names]
    assert sorted(used) == [f"unix:{keyed.service.socket(slot)}" for slot in (0, 0, 1, 1)]


def test_a_probe_accepts_no_upload(keyed: Keyed) -> None:
    """A probe is public and has no limits, so no body is stored for it."""
    answer = keyed.nginx.post("/health/live", body=bytes(2000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "upload_too_large")


def test_slots_without_keys_answer_without_a_key(keyed: Keyed, tmp_path: Path) -> None:
    """Nginx's configuration may have keys before the service has them."""
    with running(tmp_path / "service", None, FAKE_MODEL="0", ASR_DEVICES="cpu,cpu") as service:
        settings = load_settings({}, socket_dir=service.directory / "run", devices="cpu,cpu", api_keys=ENTRY)
        with proxying(tmp_path / "nginx", settings, keyed.nginx.certificate) as nginx:
            until(service.socket(0).exists, within_s=60, what="the slot")
            answer = nginx.get("/languages", headers={"x-request-id": "no-keys"})
            assert answer.status_code == 200
            assert nginx.logged("no-keys")["upstream_status"] == "200"


@pytest.mark.parametrize("host", ['a"b', "a<b", "a|b", "localhost"])
def test_an_unusual_host_changes_neither_messages_nor_the_scope_of_a_retry(keyed: Keyed, host: str) -> None:
    """Nginx passes every Host on. An error names the requested path, and a retry with another Host is a retry."""
    headers = {"x-api-key": SECRET, "host": host}
    answer = keyed.nginx.get("/nowhere", headers=headers)
    assert (answer.status_code, answer.json()["error"]["message"].split()[0]) == (404, "/nowhere")
    sent: dict[str, Any] = {"files": {"file": ("speech.wav", tone())}, "data": ALL}
    once = headers | {"idempotency-key": f"host {host}".encode().hex()}
    assert keyed.nginx.request("POST", "/transcribe", headers=once, **sent).status_code == 200
    again = keyed.nginx.request("POST", "/transcribe", headers=once | {"host": "localhost"}, **sent)
    assert (again.status_code, "idempotent-replayed" in again.headers) == (200, True)


def test_the_page_opens_without_a_key(keyed: Keyed) -> None:
    """It asks for one itself. Its policy and the lifetimes of its files are those of the service."""
    answer = keyed.nginx.get("/", headers={"accept": "text/html"})
    assert (answer.status_code, 'data-keys="true"' in answer.text) == (200, True)
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    script = re.search(r'src="(page/[^"]+/app.js)"', answer.text)
    assert script
    file = keyed.nginx.get(f"/{script[1]}")
    assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")


def test_without_a_slot_to_check_keys_the_answer_has_retry_after(keyed: Keyed) -> None:
    """A check that fails is not a refusal of the key."""
    keyed.service.signal(signal.SIGTERM)
    assert keyed.service.ended() == 0
    answer = keyed.nginx.post("/transcribe", headers={"x-api-key": "anything"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert answer.headers["retry-after"] == "5"
