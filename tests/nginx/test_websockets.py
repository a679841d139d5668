"""Live speech through Nginx: the upgrade over TLS, its limits, and what is passed on."""

import contextlib
import json
import ssl
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from nginx.conftest import Stack
from nginx.proxy import Nginx, needs_nginx

pytestmark = needs_nginx


def websocket(nginx: Nginx, path: str = "/v1/realtime?intent=transcription", **headers: str) -> ClientConnection:
    """Open a WebSocket with TLS 1.2.

    The client reads in one thread and writes in another. In TLS 1.3 the server sends session tickets after the
    handshake. If the tickets are read while the request is written, OpenSSL can lose the request: it allows one
    thread at a time.
    """
    url = nginx.url.replace("https", "wss") + path
    trust = ssl.create_default_context(cafile=str(nginx.certificate.authority))
    trust.maximum_version = ssl.TLSVersion.TLSv1_2
    return connect(url, ssl=trust, additional_headers=headers, proxy=None, open_timeout=60)


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/realtime/?model=x", "/openai/v1/realtime", "//v1/realtime"])
def test_a_websocket_reaches_a_slot(stack: Stack, path: str) -> None:
    """Messages pass both ways at once, and the answer has the id of the request."""
    with websocket(stack.nginx, path, **{"x-request-id": "live-1"}) as client:
        for text in ("hello", "x" * 1_000_000):
            client.send(text)
            assert client.recv(timeout=60) == text[:100]
        assert client.response is not None
        assert client.response.headers["x-request-id"] == "live-1"


def test_other_paths_have_no_websocket(stack: Stack) -> None:
    """`Upgrade` is not passed on: the slot answers as to any request."""
    with pytest.raises(InvalidStatus) as refused:
        websocket(stack.nginx, "/work")
    assert refused.value.response.status_code == 200


def test_one_address_has_a_maximum_of_websockets(stack: Stack, tmp_path: Path) -> None:
    """They count as its open requests, as long as they are open."""
    with stack.another(tmp_path, connections=2) as nginx, contextlib.ExitStack() as opened:
        for _ in range(2):
            opened.enter_context(websocket(nginx))
        with pytest.raises(InvalidStatus) as refused:
            websocket(nginx)
        assert refused.value.response.status_code == 429
        assert json.loads(refused.value.response.body or b"")["error"]["code"] == "rate_limited"


def test_a_websocket_passes_two_nginx(stack: Stack, tmp_path: Path) -> None:
    """The front Nginx of several machines passes the upgrade on."""
    with stack.another(tmp_path / "machine", private=True) as machine:
        address = f"127.0.0.1:{machine.private_port}"
        with stack.another(tmp_path / "front", machines=(address,)) as front, websocket(front) as client:
            client.send("hello")
            assert client.recv(timeout=60) == "hello"


def test_the_log_has_the_websocket_without_its_query(stack: Stack) -> None:
    """Its line is written when it closes."""
    with websocket(stack.nginx, "/v1/realtime?model=secret", **{"x-request-id": "live-2"}):
        pass
    line = stack.nginx.logged("live-2")
    assert (line["status"], line["path"]) == (101, "/v1/realtime")
