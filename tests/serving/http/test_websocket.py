"""WebSockets: the upgrade of a connection, the limits on messages, and clients that do not answer or do not read."""

import asyncio
import itertools
import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_websocket

from asr_service.serving.http.connections import Connections
from asr_service.serving.http.websocket import BoundedWebSocket
from asr_service.serving.limits import ServerLimits
from serving.harness import Service, running
from serving.http.conftest import Connect
from serving.http.test_connections import n_connections
from waiting import until

PING_S = 0.3
NOT_TEXT = b"\x81\x82\0\0\0\0\xff{"
HEAD = (
    b"GET /socket HTTP/1.1\r\nHost: here\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"
PING = b"\x89\x80\0\0\0\0"
PART, FIRST_PART = b"\0\x80\0\0\0\0", b"\x01\x80\0\0\0\0"
"""Empty frames of a message that does not end."""
HELLO = b"\x81\x85\0\0\0\0hello"
"""A masked text frame."""
ECHO = b"\x81\x05hello"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    limits = {"ping_s": PING_S, "lingering_close_s": 0.5, "head_s": 2, "keep_alive_s": 2}
    with running(tmp_path_factory.mktemp("websocket"), limits) as service:
        yield service.ready()


def opened(service: Service) -> ClientConnection:
    return open_websocket(service.url.replace("http", "ws") + "/socket")


def exchange(client: ClientConnection, message: str) -> str | bytes:
    """Send a message, and return the next one that is received."""
    client.send(message)
    return client.recv(timeout=60)


def read(client: socket.socket, until_end: bytes) -> bytes:
    received = b""
    while not received.endswith(until_end):
        part = client.recv(4096)
        assert part, received
        received += part
    return received


def test_a_connection_is_upgraded_wherever_the_request_is_split(connect: Connect) -> None:
    """The first frames may arrive with the request, in one piece or in several."""
    sent = HEAD + HELLO
    for split in [1, 20, len(HEAD) - 1, len(HEAD), len(HEAD) + 1, len(sent) - 1, len(sent)]:
        with connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(sent[:split])
            time.sleep(0.005)
            client.sendall(sent[split:])
            assert read(client, ECHO).startswith(b"HTTP/1.1 101 "), split


@pytest.mark.parametrize("target", [b"http://here/socket", b"ws://here:8000/socket?intent=transcription"])
def test_a_request_with_a_whole_url_opens_a_websocket(connect: Connect, target: bytes) -> None:
    """A client that knows of a proxy sends one, and the proxy may pass it on."""
    with connect() as client:
        client.sendall(HEAD.replace(b"/socket", target, 1) + HELLO)
        assert read(client, ECHO).startswith(b"HTTP/1.1 101 ")


def test_a_connection_is_upgraded_after_other_requests(connect: Connect) -> None:
    """The answer to the earlier request is complete."""
    with connect() as client:
        client.sendall(b"GET /work HTTP/1.1\r\nHost: here\r\n\r\n")
        read(client, b"0\r\n\r\n")
        client.sendall(HEAD + HELLO)
        assert read(client, ECHO).startswith(b"HTTP/1.1 101 ")


def test_an_upgrade_is_ignored_while_another_answer_is_due(connect: Connect) -> None:
    """Its frames would be mixed with that answer. The request is answered as if it did not ask for an upgrade."""
    with connect() as client:
        client.sendall(b"GET /work?s=0.1 HTTP/1.1\r\nHost: here\r\n\r\n" + HEAD.replace(b"/socket", b"/about"))
        answers = read(client, b'"device": "cpu"}\r\n0\r\n\r\n')
    assert b"101" not in answers
    assert answers.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), b"400"),
        ((b"Version: 13", b"Version: 8"), b"400"),
        ((b"HTTP/1.1", b"HTTP/1.0"), b"400"),
        ((b"Host: here", b"Content-Length: 5"), b"400"),
        ((b"Host: here", b"Host: here\r\nCookie: " + b"c" * 10_000), b"431"),
        ((b"/socket", b"/" + b"s" * 10_000), b"431"),
        ((b"GET", b"POST"), b"200"),
        ((b"/socket", b"/refused"), b"403"),
    ],
)
def test_a_request_that_opens_no_websocket_is_answered(
    service: Service, connect: Connect, change: tuple[bytes, bytes], status: bytes
) -> None:
    """An invalid one, one with POST, which is answered as an ordinary request, and one that the application refuses.

    What the application does not see is answered in the form of all errors.
    """
    with connect() as client:
        client.sendall(HEAD.replace(b"/socket", b"/about" if status == b"200" else b"/socket").replace(*change))
        answer = client.recv(4096)
    assert answer.split()[1] == status
    if status in {b"400", b"431"}:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
    assert not service.lines("ASGI callable returned without completing handshake.")


def test_a_client_that_does_not_answer_pings_is_disconnected(service: Service, connect: Connect) -> None:
    """It is closed after two intervals. A client that answers stays connected, although it sends nothing."""
    with opened(service) as idle, connect() as silent:
        silent.sendall(HEAD)
        began_s = time.monotonic()
        while silent.recv(4096):
            pass
        assert PING_S * 2 - 0.05 < time.monotonic() - began_s < PING_S * 2 + 1
        time.sleep(PING_S * 2)
        assert exchange(idle, "hello") == "hello"


def test_a_client_whose_message_takes_long_is_not_disconnected(service: Service) -> None:
    """Its answers to pings are behind its own messages, which are not read meanwhile."""
    with opened(service) as client:
        for message in (f"sleep {PING_S * 5}", *map(str, range(300))):
            client.send(message)
        assert [client.recv(timeout=60) for _ in range(301)][-1] == "299"


def test_a_client_that_reads_nothing_is_disconnected(service: Service, connect: Connect) -> None:
    """What it has not read does not keep its connection open."""
    before = n_connections(service)
    with connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(HEAD + b"\x81\x85\0\0\0\0flood")
        until(lambda: n_connections(service) > before)
        until(lambda: n_connections(service) <= before, what="the disconnect")


def test_a_message_has_a_maximum_size(service: Service) -> None:
    """15 MiB of audio in base64 are accepted. A larger message closes the connection, with 1009 if the client reads."""
    with opened(service) as client:
        assert exchange(client, "x" * (20 * 1024**2 + 100)) == "x" * 100
        with pytest.raises(ConnectionClosed) as closed:
            exchange(client, "x" * (22 * 1024**2))
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009


@pytest.mark.parametrize("is_early", [True, False], ids=["with its head", "later"])
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (NOT_TEXT, 1007),
        (NOT_TEXT + HELLO + PING, 1007),
        (NOT_TEXT + CLOSE, 1000),
        (b"\x81\x05hello", 1002),
        (HELLO + FIRST_PART + HELLO, 1002),
    ],
    ids=["not UTF-8", "more after it", "closed after it", "not masked", "incomplete"],
)
def test_a_client_that_breaks_the_protocol_is_disconnected(
    service: Service, connect: Connect, frames: bytes, code: int, is_early: bool
) -> None:
    """The close frame says why, and the log has no traceback, whether or not the application has accepted it before."""
    with connect() as client:
        client.sendall(HEAD if not is_early else HEAD + frames)
        if not is_early:
            read(client, b"\r\n\r\n")
            with suppress(ConnectionError):
                client.sendall(frames)
        received = b""
        with suppress(ConnectionResetError):  # it sends more than is read
            while part := client.recv(4096):
                received += part
    assert b"\x88" in received
    assert struct.unpack("!H", received[received.rindex(b"\x88") + 2 :][:2])[0] == code
    assert "Traceback" not in service.text()


@pytest.mark.parametrize("frames", [PING * 300, FIRST_PART + PART * 20_000], ids=["pings", "endless message"])
async def test_a_client_that_sends_too_many_small_frames_is_disconnected(frames: bytes) -> None:
    """Each takes time, and the parts of a message that does not end take memory."""
    protocol, transport = await accepted()
    protocol.data_received(frames)
    while not transport.is_closed:  # noqa: ASYNC110 - each turn of the loop parses one slice
        await asyncio.sleep(0)
    close = transport.written[transport.written.rindex(b"\x88") + 2 :]
    assert struct.unpack("!H", close[:2])[0] == 1008
    protocol.connection_lost(None)


async def test_small_frames_leave_time_for_other_connections() -> None:
    """The frames of one read may take a second. They are parsed in slices, and others have their turn in between."""
    protocol, _ = await accepted()
    protocol.data_received(b"\x02\x80\0\0\0\0" + PART * 9000)
    seen = [protocol._n_parts]
    while protocol._n_parts < 9001:
        await asyncio.sleep(0)
        seen.append(protocol._n_parts)
    assert max(after - before for before, after in itertools.pairwise(seen)) < 3000
    protocol.connection_lost(None)


async def accepted() -> "tuple[BoundedWebSocket, _Transport]":
    """Return the protocol of a WebSocket that its application has accepted."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    config = uvicorn.Config(app, lifespan="off")
    config.load()
    protocol = BoundedWebSocket(
        ServerLimits(), Connections(10), config=config, server_state=ServerState(), app_state={}
    )
    transport = _Transport()
    protocol.connection_made(transport)
    protocol.open_with(HEAD, b"")
    while not protocol.handshake_complete:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return protocol, transport


class _Transport(asyncio.Transport):
    """Keeps what is written, and reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
