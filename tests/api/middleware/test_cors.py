"""CORS, the headers that restrict browsers, and hostile file names."""

import httpx
import pytest
import structlog

from api.live import ALL, serving, tone
from api.test_failures import assert_error
from asr_service.access.keys import entry, new_secret
from waiting import until

SECRET = new_secret()
APP, OTHER = "https://app.example.com", "https://other.example.com"


@pytest.fixture(scope="module")
def opened():
    with serving(cors_origins=f"{APP}, http://localhost:5173", api_keys=entry("page", SECRET)) as live:
        yield live


REQUESTED_HEADERS = "authorization,content-type,idempotency-key,x-api-key,x-stainless-lang,x-stainless-retry-count"
"""Headers of this API, and some that OpenAI's client sends from a browser."""


def preflight(live, origin: str, method: str = "POST"):
    headers = {"access-control-request-method": method, "access-control-request-headers": REQUESTED_HEADERS}
    return httpx.options(f"{live.url}/transcribe", headers={"origin": origin, **headers})


def test_a_page_of_an_allowed_origin_may_call(opened):
    """The preflight needs no key, the page can read responses and errors, and cookies are not allowed."""
    allowed = preflight(opened, APP)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, APP)
    assert allowed.headers["access-control-allow-headers"] == REQUESTED_HEADERS
    for headers, status in (({"authorization": f"Bearer {SECRET}"}, 200), ({}, 401)):
        answer = httpx.post(
            f"{opened.url}/transcribe", files={"file": tone()}, data=ALL, headers={"origin": APP, **headers}
        )
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, APP)
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert {"x-request-id", "retry-after", "x-should-retry"} <= set(exposed.split(", "))
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [OTHER, "null", APP + ".evil.example", APP.replace("https", "http"), APP + ":444"])
def test_a_page_of_another_origin_may_not_call(opened, origin):
    """An origin with the same prefix or without a name is refused too. The refusal has the shape of every error."""
    refused = preflight(opened, origin)
    assert_error(refused, 403, "page_refused", None)
    assert "origin" in refused.headers["vary"].lower()
    assert not [name for name in refused.headers if name.startswith("access-control")]
    answer = httpx.get(f"{opened.url}/health", headers={"origin": origin})
    assert "access-control-allow-origin" not in answer.headers


def test_an_allowed_page_may_call_a_service_in_a_private_network(opened):
    """Chrome asks for this before a public page may call localhost or an inside address."""
    headers = {"access-control-request-method": "POST", "access-control-request-private-network": "true"}
    allowed = httpx.options(f"{opened.url}/transcribe", headers={"origin": APP, **headers})
    assert (allowed.status_code, allowed.headers["access-control-allow-private-network"]) == (200, "true")
    refused = httpx.options(f"{opened.url}/transcribe", headers={"origin": OTHER, **headers})
    assert_error(refused, 403, "page_refused", None)
    assert "access-control-allow-private-network" not in refused.headers


def test_a_page_may_not_use_another_method(opened):
    """PUT is refused in the preflight."""
    assert_error(preflight(opened, APP, "PUT"), 403, "page_refused", None)


def test_a_preflight_names_only_so_many_headers(opened):
    """Its response repeats them, and Nginx answers 502 to a response with more than 4 kB of headers."""
    for n_chars, status in ((2000, 200), (2001, 403)):
        headers = {"access-control-request-method": "POST", "access-control-request-headers": "x" * n_chars}
        response = httpx.options(f"{opened.url}/transcribe", headers={"origin": APP, **headers})
        assert response.status_code == status
        assert sum(len(name) + len(value) + 4 for name, value in response.headers.raw) < 4000
    assert_error(response, 403, "page_refused", None)


def test_no_page_may_call_by_default(live):
    """Without ASR_CORS_ORIGINS, a preflight is a 405."""
    assert preflight(live, APP).status_code == 405
    assert not [name for name in live.get("/health").headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/health", "/metrics", "/nowhere", "/docs", "/openapi.json", "/transcribe"])
def test_every_response_has_the_safe_headers(live, path):
    """Errors have them too. Only the policy of the documentation page allows a script."""
    answer = live.post() if path == "/transcribe" else live.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert ("script-src 'self' 'sha256-" in policy) == (path == "/docs")


HOSTILE = [
    "../../../../etc/cron.d/x",
    "/etc/passwd",
    "C:\\Windows\\x.wav",
    "x\r\nSet-Cookie: a=b\r\n\r\n<script>",
    "a.wav\n2026-01-01 [error] forged",
    "\x1b[31mred\x00.wav",
    '"; filename="b.wav',
    "${jndi:ldap://evil}",
    "é☃" * 50,
    "a" * 3000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_file_name_appears_nowhere(live, name, tmp_path, monkeypatch):
    """No path, header, body or log line has it, whether the request fails or not."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for audio, fields in ((tone(0.1), ALL), (b"no audio", ALL), (tone(0.1), {"beam_size": "x"})):
        head = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % name.encode()
        rest = b"".join(
            b'\r\n--xx\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s' % (key.encode(), value.encode())
            for key, value in fields.items()
        )
        with structlog.testing.capture_logs() as lines:
            answer = httpx.post(
                f"{live.url}/transcribe",
                content=head + audio + rest + b"\r\n--xx--\r\n",
                headers={"content-type": "multipart/form-data; boundary=xx"},
            )
            until(lambda: lines, what="the log line of the request, which follows its response")
        assert answer.status_code in {200, 400, 415, 422}
        shown = answer.text + repr(answer.headers.raw) + repr(lines)
        for trace in ("etc", "Windows", "Cookie", "forged", "red", "b.wav", "jndi", "☃", "a" * 20):
            assert trace not in shown
    assert not list(tmp_path.iterdir())
