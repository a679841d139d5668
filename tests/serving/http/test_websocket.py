"""WebSockets: the upgrade of a connection, the limits on messages, and clients that do not answer or do not read."""

import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_websocket

from serving.harness import Service, running
from serving.http.test_connections import n_connections
from waiting import until

PING_S = 0.3
HEAD = (
    b"GET /socket HTTP/1.1\r\nHost: here\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HELLO = b"\x81\x85\0\0\0\0hello"
"""A masked text frame."""
ECHO = b"\x81\x05hello"

Connect = Callable[[], socket.socket]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    limits = {"ping_s": PING_S, "lingering_close_s": 0.5, "head_s": 2, "keep_alive_s": 2}
    with running(tmp_path_factory.mktemp("websocket"), limits) as service:
        yield service.ready()


@pytest.fixture(scope="module")
def connect(service: Service) -> Connect:
    address = urlsplit(service.url)
    return lambda: socket.create_connection((address.hostname, address.port), timeout=10)


def opened(service: Service) -> ClientConnection:
    return open_websocket(service.url.replace("http", "ws") + "/socket")


def exchange(client: ClientConnection, message: str) -> str | bytes:
    """Send a message, and return the next one that is received."""
    client.send(message)
    return client.recv(timeout=10)


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
        ((b"Host: here", b"Cookie: " + b"c" * 10_000), b"431"),
        ((b"/socket", b"/" + b"s" * 10_000), b"431"),
        ((b"GET", b"POST"), b"200"),
        ((b"/socket", b"/refused"), b"403"),
    ],
)
def test_a_request_that_opens_no_websocket_is_answered(
    service: Service, connect: Connect, change: tuple[bytes, bytes], status: bytes
) -> None:
    """An invalid one, one with POST, which is answered as an ordinary request, and one that the application refuses."""
    with connect() as client:
        client.sendall(HEAD.replace(b"/socket", b"/about" if status == b"200" else b"/socket").replace(*change))
        assert client.recv(4096).split()[1] == status
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
        assert [client.recv(timeout=5) for _ in range(301)][-1] == "299"


def test_a_client_that_reads_nothing_is_disconnected(service: Service, connect: Connect) -> None:
    """What it has not read does not keep its connection open."""
    before = n_connections(service)
    with connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(HEAD + b"\x81\x85\0\0\0\0flood")
        until(lambda: n_connections(service) > before)
        until(lambda: n_connections(service) <= before, within_s=5, what="the disconnect")


def test_a_message_has_a_maximum_size(service: Service) -> None:
    """15 MiB of audio in base64 are accepted. A larger message closes the connection, with 1009 if the client reads."""
    with opened(service) as client:
        assert exchange(client, "x" * (20 * 1024**2 + 100)) == "x" * 100
        with pytest.raises(ConnectionClosed) as closed:
            exchange(client, "x" * (22 * 1024**2))
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
