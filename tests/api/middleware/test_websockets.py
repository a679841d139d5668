"""WebSockets pass the same checks as requests: keys, origins, limits, log, metrics and traces."""

import json
import re
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from api.live import Live, serving
from api.openai.realtime.client import realtime
from api.openai.realtime.scripted import scripted_sessions
from asr_service import tracing
from asr_service.access.keys import KeyLimits, entry, new_secret, read_keys
from asr_service.api.middleware.authentication import Authentication
from asr_service.api.openai.realtime import connection
from asr_service.settings import load_settings
from serving.harness import running
from waiting import until

ALICE, ONE, LITTLE, PLENTY, STRANGER = (new_secret() for _ in range(5))
ENTRIES = ",".join(
    [
        entry("alice", ALICE),
        entry("one", ONE, KeyLimits(concurrent_requests=1)),
        entry("little", LITTLE, KeyLimits(audio_s_per_minute=3)),
        entry("plenty", PLENTY, KeyLimits(audio_s_per_minute=600)),
    ]
)
APP = "https://app.example.com"
HANDSHAKE = (
    b" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module")
def _keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    usage = tmp_path_factory.mktemp("usage")
    with serving(api_keys=ENTRIES, key_usage_dir=usage, cors_origins=APP) as live:
        yield live


@pytest.fixture
def keyed(_keyed: Live) -> Iterator[Live]:
    with scripted_sessions(_keyed):
        yield _keyed


def refusal(live: Live, **how: Any) -> httpx.Response:
    """Return the answer to a connection that is refused."""
    with pytest.raises(InvalidStatus) as refused, realtime(live.url, **how):
        pass
    response = refused.value.response
    return httpx.Response(
        response.status_code, headers=list(response.headers.raw_items()), content=bytes(response.body or b"")
    )


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ({}, 401, "missing_api_key"),
        ({"query": f"?api_key={ALICE}"}, 401, "missing_api_key"),
        ({"key": STRANGER}, 401, "invalid_api_key"),
        ({"protocols": ("realtime", f"openai-insecure-api-key.{STRANGER}")}, 401, "invalid_api_key"),
        ({"key": "ek_" + "A" * 100}, 401, "invalid_api_key"),
        ({"key": ALICE, "protocols": (f"openai-insecure-api-key.{ONE}",)}, 400, "malformed_request"),
        (
            {"protocols": (f"openai-insecure-api-key.{ALICE}", f"openai-insecure-api-key.{ONE}")},
            400,
            "malformed_request",
        ),
    ],
    ids=range(7),
)
def test_a_websocket_without_a_valid_key_is_refused_before_the_upgrade(keyed, how, status, code):
    """It gets the same error as a request, with an id and the headers of every answer."""
    answer = refusal(keyed, **how)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert not re.search(f"{ALICE}|{ONE}|{STRANGER}", answer.text)


@pytest.mark.parametrize("how", [{"key": ALICE}, {"headers": {"x-api-key": ALICE}}], ids=["bearer", "x-api-key"])
def test_a_websocket_with_a_key_in_a_header_is_accepted(keyed, how):
    with realtime(keyed.url, **how) as client:
        assert client.socket.subprotocol is None


def test_a_browser_sends_its_key_as_a_sub_protocol(keyed):
    """The service selects `realtime`, and repeats the key in no header."""
    offered = ("realtime", f"openai-insecure-api-key.{ALICE}")
    with realtime(keyed.url, protocols=offered) as client:
        assert client.socket.subprotocol == "realtime"
        assert client.socket.response is not None
        assert ALICE not in str(client.socket.response.headers)


def test_every_other_path_has_no_websocket(keyed):
    """The answer is a 404, as of an unknown path. Without an upgrade, the path of WebSockets says what is missing."""
    url = keyed.url.replace("http", "ws")
    for path in ("/transcribe", "/v1/realtime/calls", "/health", "/"):
        with pytest.raises(InvalidStatus) as refused:
            connect(url + path, additional_headers={"x-api-key": ALICE}, proxy=None, open_timeout=60)
        assert refused.value.response.status_code == 404
        assert json.loads(refused.value.response.body)["error"]["code"] == "not_found"
    answer = httpx.get(f"{keyed.url}/v1/realtime", headers={"x-api-key": ALICE})
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
    assert answer.json()["error"]["code"] == "upgrade_required"


@pytest.mark.parametrize("path", ["//v1/realtime", "/v1/realtime/", "/openai/v1/realtime"])
def test_other_spellings_of_the_path_are_accepted(keyed, path):
    """The SDKs of Groq and Azure add a prefix."""
    with connect(
        keyed.url.replace("http", "ws") + path, additional_headers={"x-api-key": ALICE}, proxy=None, open_timeout=60
    ) as socket:
        assert "session.created" in str(socket.recv(timeout=60))


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (None, True),
        (APP, True),
        ("http://127.0.0.1:3000", True),
        ("https://evil.example.com", False),
        (APP + ".evil.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_a_web_page_may_connect_from_an_allowed_origin_or_from_the_services_own_host(keyed, origin, is_allowed):
    """Browsers do not apply CORS to WebSockets, so the service checks the origin. Other clients send none."""
    headers = {} if origin is None else {"origin": origin}
    if is_allowed:
        with realtime(keyed.url, key=ALICE, headers=headers):
            return
    answer = refusal(keyed, key=ALICE, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "page_refused")


@pytest.mark.parametrize(("origins", "is_allowed"), [(None, False), ("*", True)])
def test_without_allowed_origins_no_foreign_page_may_connect(origins, is_allowed):
    """Else any page could use the service on the machine of its reader. `*` allows every page."""
    with serving(cors_origins=origins) as live, scripted_sessions(live):
        if is_allowed:
            with realtime(live.url, headers={"origin": APP}):
                return
        assert refusal(live, headers={"origin": APP}).status_code == 403


def test_a_service_without_keys_ignores_them(live):
    """Whatever form they have."""
    with scripted_sessions(live):
        for how in (
            {"key": STRANGER},
            {"key": "ek_nonsense"},
            {"protocols": ("realtime", f"openai-insecure-api-key.{STRANGER}", "openai-insecure-api-key.x")},
        ):
            with realtime(live.url, **how):
                pass


def test_a_websocket_counts_against_the_requests_of_its_key(keyed, tmp_path_factory):
    """Another one, and a request, get a 429 while it is open, in every slot that shares the directory of usage."""
    usage = keyed.app._engine.settings.key_usage_dir
    with serving(api_keys=ENTRIES, key_usage_dir=usage) as other, scripted_sessions(other):
        with realtime(keyed.url, key=ONE):
            for slot in (keyed, other):
                answer = refusal(slot, key=ONE)
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
                assert answer.json()["error"]["code"] == "concurrency_limit_reached"
                request = httpx.post(f"{slot.url}/transcribe", content=b"x", headers={"x-api-key": ONE})
                assert request.status_code == 429
            with realtime(other.url, key=ALICE):
                pass
        until(keyed.idle)
        with realtime(other.url, key=ONE):
            pass


def test_the_audio_of_a_websocket_counts_against_its_key(keyed, monkeypatch):
    """When the limit is reached, the open turn is completed and the session closed. The next one is refused."""
    monkeypatch.setattr(connection, "_CHECK_AUDIO_S", 4.0)
    had = keyed.metric('asr_key_audio_seconds_total{key="little"}')
    with realtime(keyed.url, key=LITTLE) as client:
        for _ in range(4):
            client.append()
        with pytest.raises(ConnectionClosed) as closed:
            client.until("nothing")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert client.kinds()[1] == "error"
    assert client.received[1]["error"]["code"] == "audio_limit_reached"
    assert client.kinds()[-1] == "conversation.item.input_audio_transcription.completed"
    assert keyed.metric('asr_key_audio_seconds_total{key="little"}') == pytest.approx(had + 4, abs=0.1)
    answer = refusal(keyed, key=LITTLE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "audio_limit_reached")
    assert int(answer.headers["retry-after"]) > 10


def test_log_and_metrics_have_the_websocket_and_never_its_key(tmp_path):
    """There is a line when it opens and one when it closes. A refused one has the line of a request.

    Neither Uvicorn nor `websockets` log the headers, at whatever level.
    """
    with running(tmp_path, FAKE_MODEL="0", ASR_API_KEYS=ENTRIES, ASR_LOG_LEVEL="debug") as service:
        service.ready()
        with realtime(service.url, protocols=("realtime", f"openai-insecure-api-key.{ALICE}")) as client:
            assert client.socket.response is not None
            request_id = client.socket.response.headers["x-request-id"]
            during = service.get("/metrics").text
        with pytest.raises(InvalidStatus), realtime(service.url, "?model=a%20prompt", key=STRANGER):
            pass
        until(lambda: service.lines("websocket closed"), what="the line")
        metrics = service.get("/metrics").text
        opened, closed = service.lines("websocket opened"), service.lines("websocket closed")
        (refused,) = [line for line in service.lines("request") if line["path"] == "/v1/realtime"]
        log = service.text()
    assert [(line["key"], line["request_id"], line["path"]) for line in (*opened, *closed)] == [
        ("alice", request_id, "/v1/realtime")
    ] * 2
    assert (closed[0]["code"], closed[0]["seconds"] > 0) == (1000, True)
    assert (refused["method"], refused["status"]) == ("GET", 401)
    assert 'asr_requests_total{code="101",endpoint="/v1/realtime"} 1.0' in metrics
    assert 'asr_requests_total{code="401",endpoint="/v1/realtime"} 1.0' in metrics
    assert 'asr_key_requests_total{code="101",key="alice"} 1.0' in metrics
    assert 'asr_live_sessions{slot="0"} 1.0' in during
    assert 'asr_live_sessions{slot="0"} 0.0' in metrics
    assert 'asr_websockets_closed_total{code="1000"} 1.0' in metrics
    assert 'asr_request_duration_seconds_count{endpoint="/v1/realtime"} 1.0' in metrics
    for secret in (ALICE, STRANGER, "a prompt", "a%20prompt"):
        assert secret not in log + metrics


@pytest.mark.parametrize("query", [b"", b"?model=nonsense"])
def test_a_client_that_leaves_before_it_is_accepted_is_no_error(keyed, query):
    """The key's audio is looked up in a thread meanwhile. The log has one line about the request."""
    request = b"GET /v1/realtime" + query + HANDSHAKE + f"x-api-key: {PLENTY}\r\n\r\n".encode()
    with capture_logs() as lines:
        for _ in range(10):
            with keyed.connect() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.sendall(request)
        until(lambda: len(ended(lines)) == 10, what="the lines")
    assert not [line for line in lines if line["log_level"] == "error"]
    if not query:
        assert 499 in [line.get("status") for line in lines]


def ended(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["event"] in {"request", "websocket closed"}]


def test_a_websocket_is_a_span_of_its_callers_trace(keyed):
    """The span has no key."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.set_provider(provider)
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    try:
        with realtime(keyed.url, protocols=("realtime", f"openai-insecure-api-key.{ALICE}"), headers=headers):
            pass
        until(lambda: [span for span in exporter.get_finished_spans() if span.name == "GET /v1/realtime"])
    finally:
        tracing.set_provider(None)
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == headers["traceparent"].split("-")[1]
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 101
    assert ALICE not in span.to_json()


async def test_the_application_does_not_see_the_key_of_a_sub_protocol():
    """It gets the other sub-protocols, and no header with the key."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(dict(scope))

    ring = read_keys(load_settings({}, api_keys=ENTRIES))
    none: frozenset[str] = frozenset()
    authentication = Authentication(app, ring=ring, public=none, public_folder="/page/", inside_paths=none, inside=())
    offered = ["realtime", f"openai-insecure-api-key.{ALICE}"]
    scope = {
        "type": "websocket",
        "path": "/v1/realtime",
        "query_string": b"",
        "headers": [(b"host", b"a"), (b"sec-websocket-protocol", ", ".join(offered).encode())],
        "subprotocols": offered,
    }
    await authentication(scope, None, None)  # type: ignore[arg-type]
    assert seen[0]["subprotocols"] == ["realtime"]
    assert seen[0]["state"]["key"].name == "alice"
    assert ALICE not in str(seen[0]["headers"])
