"""Which requests are authenticated, how others are refused, and that no key appears anywhere."""

import json
import re
from typing import Any

import anyio
import httpx
import pytest
import structlog
from starlette.types import Receive, Scope, Send

from api.live import ALL, Live, serving, tone
from api.middleware.test_request_log import logging_service
from api.test_failures import announcing, assert_error
from asr_service.access.keys import entry, new_secret
from waiting import until

ALICE, BOB, STRANGER = new_secret(), new_secret(), new_secret()
ENTRIES = f"{entry('alice', ALICE)},{entry('bob', BOB)}"
BEARER = {"authorization": f"Bearer {ALICE}"}


@pytest.fixture(scope="module")
def keyed():
    with serving(api_keys=ENTRIES) as live:
        yield live


def call(live: Live, headers: Any, path: str = "/transcribe", **more: Any) -> httpx.Response:
    return httpx.post(f"{live.url}{path}", files={"file": tone()}, data=ALL, headers=headers, timeout=60, **more)


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        {"authorization": f"bEARER   {BOB}"},
        {"x-api-key": BOB},
        {"x-api-key": ALICE, "authorization": "Basic Zm9vOmJhcg=="},
        {"x-api-key": ALICE, "authorization": "Bearer"},
        {"x-api-key": "", "authorization": f"Bearer {ALICE}"},
        {"x-api-key": ALICE, "authorization": f"Bearer {ALICE}"},
        [("x-api-key", ALICE), ("x-api-key", ALICE)],
        [("x-api-key", ""), ("x-api-key", ALICE)],
    ],
)
def test_a_valid_key_is_accepted(keyed, headers):
    """Either header works, the scheme is case-insensitive, and a proxy's own credentials are ignored.

    Some clients send an empty key, or the same key in both headers.
    """
    assert call(keyed, headers).json()["text"] == "hello"


NONE, WRONG, UNCLEAR = (401, "missing_api_key"), (401, "invalid_api_key"), (400, "malformed_request")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, NONE),
        ({"authorization": ""}, NONE),
        ({"authorization": "Bearer"}, NONE),
        ({"authorization": f"Basic {ALICE}"}, NONE),
        ({"authorization": ALICE}, NONE),
        ({"x-api-key": ""}, NONE),
        ({"cookie": f"api_key={ALICE}"}, NONE),
        ({"x-api-key": STRANGER}, WRONG),
        ({"authorization": f"Bearer {ALICE[:-1]}"}, WRONG),
        ({"authorization": f"Bearer {ALICE} {BOB}"}, WRONG),
        ({"authorization": f"Bearer {ALICE.upper()}"}, WRONG),
        ({"authorization": b"Bearer \xc3\xa9\xff\xfe\xe2\x98\x83" + b"x" * 40}, WRONG),
        ({"x-api-key": "x" * 50_000}, WRONG),
        ([("authorization", f"Bearer {STRANGER}"), ("authorization", f"Bearer {ALICE}")], UNCLEAR),
        ([("authorization", "Basic Zm9v"), ("authorization", f"Bearer {ALICE}")], UNCLEAR),
        ([("x-api-key", ALICE), ("x-api-key", BOB)], UNCLEAR),
        ([("x-api-key", STRANGER), ("authorization", f"Bearer {ALICE}")], UNCLEAR),
    ],
)
def test_a_missing_invalid_or_ambiguous_key_is_refused(keyed, headers, expected):
    """A missing or an invalid key is a 401 with a challenge. Two different keys are a 400."""
    answer = call(keyed, headers)
    status, code = expected
    assert_error(answer, status, code, None)
    assert answer.headers.get("www-authenticate", "").startswith(
        'Bearer realm="asr-service"' if expected != UNCLEAR else ""
    )
    assert not re.search(f"{ALICE}|{BOB}|{STRANGER}", answer.text)


def test_a_key_in_the_url_is_ignored(keyed):
    """The response says that URLs are logged. Beside a valid key in a header, it is an unknown field."""
    refused = call(keyed, {}, params={"api_key": ALICE})
    assert_error(refused, *NONE, None)
    assert "URLs are logged" in refused.json()["error"]["message"]
    assert_error(call(keyed, BEARER, params={"api_key": ALICE}), 422, "invalid_parameter", "api_key")


def test_the_key_is_checked_before_the_body_is_read(keyed):
    """A client that sent only its headers gets the 401, even if the slot is full."""
    keyed.admission._max_open_requests = 0
    try:
        assert_error(announcing(99_999)(keyed), *NONE, None)
    finally:
        keyed.admission._max_open_requests = 64


def test_only_probes_documentation_and_metrics_are_public(keyed):
    """Without a key, an unknown path gets the same 401 as a known one."""
    for path in ("/health", "/health/live", "/health/ready", "/docs", "/docs/swagger-ui.css", "/openapi.json"):
        assert keyed.get(path).status_code == 200
    assert keyed.get("/metrics").status_code == 200
    for path in ("/nowhere", "/health/../transcribe", "/docs", "//transcribe", "/TRANSCRIBE", "/%74ranscribe"):
        assert httpx.post(f"{keyed.url}{path}").status_code == (405 if path == "/docs" else 401)


@pytest.mark.parametrize(
    ("settings", "path_without_key", "status"),
    [
        ({}, "/metrics", 200),
        ({"metrics_inside": "127.0.0.1"}, "/metrics", 200),
        ({"metrics_inside": "10.0.0.0/8, ::1"}, "/metrics", 401),
        ({"metrics_inside": "10.0.0.0/8, ::1"}, "/metrics/", 401),
        ({"metrics_inside": "none"}, "/metrics", 401),
        ({"metrics_inside": "10.0.0.0/8, ::1"}, "/health", 200),
        ({"metrics_inside": "0.0.0.0/0"}, "/languages", 401),
    ],
)
def test_metrics_require_a_key_from_outside_addresses(settings, path_without_key, status):
    """Metrics contain the names of the keys. By default only this machine reads them without a key."""
    with serving(api_keys=ENTRIES, **settings) as live:
        assert live.get(path_without_key).status_code == status
        assert httpx.get(f"{live.url}/metrics", headers=BEARER).status_code == 200


@pytest.mark.parametrize(("inside", "status"), [("10.0.0.0/8", 200), ("none", 401)])
def test_a_unix_socket_needs_a_key_for_metrics_only_if_nobody_is_inside(inside, status):
    """A proxy on a Unix socket has no address, and restricts /metrics itself. With `none` it passes the key on."""
    with serving(api_keys=ENTRIES, metrics_inside=inside) as live:
        assert anyio.run(metrics_without_address, live, {}) == status
        assert anyio.run(metrics_without_address, live, BEARER) == 200


async def metrics_without_address(live: Live, headers: dict[str, str]) -> int:
    """Return the status of /metrics for a client of a Unix socket."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await live.app({**scope, "client": None}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://slot") as client:
        return (await client.get("/metrics", headers=headers)).status_code


@pytest.mark.parametrize("settings", [{}, {"metrics_inside": "10.0.0.0/8"}])
def test_metrics_are_public_without_keys(settings):
    """A service that anybody can use has no names to protect."""
    with serving(**settings) as live:
        assert live.get("/metrics").status_code == 200


def test_a_key_does_not_carry_over_to_the_next_request_of_a_connection(keyed):
    """Of two pipelined requests, only the log line of the first has the caller's name."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        with keyed.connect() as peer:
            first = f"GET /languages HTTP/1.1\r\nHost: a\r\nX-API-Key: {ALICE}\r\n\r\n"
            peer.sendall(f"{first}GET /languages HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            while peer.recv(65536):
                pass
        until(lambda: sum(line["event"] == "request" for line in lines) == 2)
    logged = [(line["status"], line.get("key")) for line in lines if line["event"] == "request"]
    assert logged == [(200, "alice"), (401, None)]


def test_a_service_without_keys_ignores_credentials(live):
    """Any credentials are accepted."""
    assert call(live, {"authorization": "Bearer whatever"}).status_code == 200


def test_logs_and_metrics_have_the_name_of_the_key_and_never_the_key(tmp_path):
    """Each log line of the request has the name. An invalid key creates no label."""
    with logging_service(tmp_path, "json", f"api_keys={ENTRIES}", "log_transcripts=true") as service:
        live = Live(None, None, int(service.url.rsplit(":", 1)[1]))  # type: ignore[arg-type]
        call(live, BEARER)
        call(live, {"x-api-key": BOB}, params={"beam_size": "x", "api_key": BOB})
        call(live, {"x-api-key": STRANGER})
        until(lambda: service.text().count('"event": "request"') == 3, what="the lines")
        lines, metrics = service.lines(), httpx.get(f"{service.url}/metrics").text
    requests = [(line.get("key"), line["status"]) for line in lines if line["event"] == "request"]
    assert requests == [("alice", 200), ("bob", 422), (None, 401)]
    assert [line["key"] for line in lines if line["event"] == "transcript"] == ["alice"]
    assert 'asr_key_requests_total{code="200",key="alice"} 1.0' in metrics
    assert len(re.findall(r"^asr_key_requests_total\{", metrics, re.MULTILINE)) == 2
    for secret in (ALICE, BOB, STRANGER):
        assert secret not in json.dumps(lines) + metrics
