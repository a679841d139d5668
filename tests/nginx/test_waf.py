"""The optional web application firewall: a real Nginx with Debian's ModSecurity and the OWASP Core Rule Set."""

import base64
import json
import os
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from api.openai.clients.programs import RECORDED
from asr_service.settings import load_settings
from nginx.conftest import Stack
from nginx.proxy import Nginx, needs_nginx, proxying
from programs import report_missing

MODULE = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
RULES = Path("/usr/share/modsecurity-crs/rules")
UPLOAD_BYTES = 30 * 1024 * 1024
ATTACKS = [
    ("POST", "/speech?prompt=1'%20UNION%20SELECT%20password%20FROM%20users--%20", {}),
    ("POST", "/speech?prompt=%3Cscript%3Ealert(1)%3C/script%3E", {"content-type": "audio/flac"}),
    ("GET", "/languages?file=../../../../etc/passwd", {}),
    ("POST", "/speech", {"user-agent": "sqlmap/1.7"}),
    ("POST", "/speech", {"x-anything": "() { :;}; /bin/cat /etc/passwd"}),
]

pytestmark = needs_nginx


@pytest.fixture(scope="module", params=[False, True], ids=["open", "keys"])
def nginx(request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Start an Nginx with the firewall, without and with the check of API keys."""
    if not (MODULE.exists() and RULES.exists()):
        report_missing("ModSecurity is not installed: apt-get install libnginx-mod-http-modsecurity modsecurity-crs")
    settings = load_settings(
        {},
        devices="cpu,cpu",
        socket_dir=stack.settings.socket_dir,
        max_upload_bytes=2 * UPLOAD_BYTES,
        upload_timeout_s=1,
        **({"api_keys_file": "/keys"} if request.param else {}),
    )
    folder = tmp_path_factory.mktemp("waf")
    with proxying(folder / "nginx", settings, stack.certificate, modules=(MODULE,), waf=True) as nginx:
        yield nginx


@pytest.mark.parametrize(("method", "path", "headers"), ATTACKS, ids=["sql", "script", "file", "scanner", "shell"])
def test_an_attack_in_the_query_or_a_header_is_refused(
    stack: Stack, nginx: Nginx, method: str, path: str, headers: dict[str, str]
) -> None:
    """No slot sees the request. The log has its id."""
    name = f"attack-{nginx.https_port}"
    answer = nginx.request(method, path, headers={"x-request-id": name, **headers})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "refused_by_firewall")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == name
    assert not stack.notes(name)
    assert nginx.logged(name)["status"] == 403


@pytest.mark.parametrize(
    "content_type",
    [
        *("audio/flac", "audio/webm;codecs=opus", 'audio/ogg; codecs="opus, vorbis"', "video/mp4"),
        *("application/octet-stream", "multipart/form-data; boundary=x; charset=us-ascii"),
    ],
)
def test_every_type_of_recording_passes(nginx: Nginx, content_type: str) -> None:
    """The rules know only the types of web pages, and the service itself checks the type."""
    headers = {"content-type": content_type, "authorization": "Bearer " + "a1_-" * 11}
    assert nginx.post(headers=headers).status_code == 200


@pytest.mark.parametrize("prompt", ["Dr. O'Brien, select committee: 5 < 6 & 7 > 3.", "語" * 4000])
def test_a_prompt_that_is_no_attack_passes(nginx: Nginx, prompt: str) -> None:
    assert nginx.post("/speech", params={"language": "en", "prompt": prompt}).status_code == 200


def test_the_firewall_does_not_read_the_form(nginx: Nginx) -> None:
    form = {"file": ("speech.wav", b"RIFF", "audio/wav"), "prompt": (None, "1' UNION SELECT password FROM users-- ")}
    assert nginx.request("POST", "/speech", files=form).status_code == 200


@pytest.mark.parametrize("recording", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_the_requests_of_real_clients_pass(nginx: Nginx, recording: Path) -> None:
    """Nginx passes the headers of each recorded client on to a slot, also those that open a live session."""
    recorded = json.loads(recording.read_text())
    for request in recorded.get("requests", [recorded]):
        is_live = "messages" in request
        body = b"" if is_live else base64.b64decode(request["body"])
        with nginx.connect() as client:
            client.sendall(request["head"].encode("latin-1") + b"\r\n\r\n" + body)
            answer = HTTPResponse(client)
            answer.begin()
            assert answer.status == (101 if is_live else 200), answer.read()


def test_a_large_upload_passes_although_modsecurity_refuses_bodies_over_13_mb(nginx: Nginx) -> None:
    """ModSecurity does not see the body, so its limit and its rules do not apply."""
    body = os.urandom(UPLOAD_BYTES)
    answer = nginx.post(body=body)
    assert answer.status_code == 200
    assert answer.json()["bytes"] == len(body)


def test_an_upload_over_the_services_limit_is_still_refused(nginx: Nginx) -> None:
    answer = nginx.post(body=b"x" * (2 * UPLOAD_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "upload_too_large")


def test_a_stream_still_passes_line_by_line(stack: Stack, nginx: Nginx) -> None:
    """The first line arrives while the slot still works on the last one."""
    with (
        httpx.Client(verify=nginx.certificate.trust, timeout=60) as client,
        client.stream("POST", f"{nginx.url}/stream") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "first"
        with stack.fault("go"):
            assert list(lines) == ["last"]
