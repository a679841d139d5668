"""Clients that send too much of a head, or too slowly."""

import socket
from urllib.parse import urlsplit

import pytest

from serving.harness import running


@pytest.fixture
def connect(tmp_path):
    with running(tmp_path, {"head_s": 1, "head_bytes": 8192}) as service:
        address = urlsplit(service.ready().url)
        yield lambda: socket.create_connection((address.hostname, address.port), timeout=10)


@pytest.mark.parametrize("sent", [b"", b"GET /work HTTP/1.1\r\nHost: here\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_not_waited_for(connect, sent):
    """A silent connection and a half-sent head are closed."""
    with connect() as client:
        client.sendall(sent)
        assert client.recv(1) == b""


@pytest.mark.parametrize("head", [b"X-Long: " + b"x" * 20_000, b"".join(b"X-%d: y\r\n" % n for n in range(3000))])
def test_a_head_that_does_not_end_is_refused(connect, head):
    """One endless header or endlessly many: 400, and the connection is closed."""
    with connect() as client:
        client.sendall(b"GET /work HTTP/1.1\r\nHost: here\r\n" + head)
        assert client.recv(4096).startswith(b"HTTP/1.1 400")


def test_a_body_is_no_head(connect):
    """Of a body there may be more than of a head, in one piece with it, and a second request may follow."""
    body = b"b" * 100_000
    request = b"POST /work HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with connect() as client, client.makefile("rb") as answers:
        for _ in range(2):
            client.sendall(request)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while answers.readline() != b"0\r\n":  # the last chunk
                pass
            assert answers.readline() == b"\r\n"
