"""Clients that send too much of a head, or too slowly."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from serving.fake_speech import notes
from serving.harness import running
from waiting import until


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    limits = {
        "head_s": 1,
        "head_bytes": 8192,
        "unread_s": 1,
        "lingering_close_s": 1,
        "lingering_close_bytes": 10_000_000,
    }
    with running(tmp_path_factory.mktemp("protocol"), limits) as service:
        yield service.ready()


@pytest.fixture(scope="module")
def connect(service):
    address = urlsplit(service.url)
    return lambda: socket.create_connection((address.hostname, address.port), timeout=10)


def test_a_silent_connection_is_closed(connect):
    """There is nothing to answer."""
    with connect() as client:
        assert client.recv(1) == b""


GET = b"GET /work HTTP/1.1\r\nHost: here\r\n"
CHUNKS = b"POST /speech HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code", "said"),
    [
        (GET + b"X-Slow: ", 408, "head_too_slow", "in time"),
        (GET + b"X-Long: " + b"x" * 20_000, 431, "head_too_large", "8192 bytes"),
        (b"GET /" + b"x" * 20_000, 431, "head_too_large", "8192 bytes"),
        (GET + b"".join(b"X-%d: y\r\n" % n for n in range(3000)), 431, "head_too_large", "100 headers"),
        (CHUNKS + b"0\r\nX-After: " + b"x" * 20_000, 431, "head_too_large", "8192 bytes"),
        (GET + b"A: b\r\n" * 100 + b"\r\n", 431, "head_too_large", "100 headers"),
        (GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "malformed_request", "no HTTP"),
        (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "malformed_request", "no HTTP"),
        (GET + b"Content-Length: -1\r\n\r\n", 400, "malformed_request", "no HTTP"),
        (GET + b"A : b\r\n\r\n", 400, "malformed_request", "no HTTP"),
        (GET + b"A: b\x00c\r\n\r\n", 400, "malformed_request", "no HTTP"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "malformed_request", "no HTTP"),
    ],
    ids=range(12),
)
def test_a_head_that_cannot_be_taken_is_refused(connect, sent, status, code, said):
    """Slow, long, many, or unclear where it ends: an error in the one shape, and the connection is closed."""
    with connect() as client:
        client.sendall(sent)
        head, body = b"".join(iter(lambda: client.recv(4096), b"")).split(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert int(head.split()[1]) == status
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert said in error["message"]


def test_a_client_that_reads_nothing_of_its_answer_is_cut_off(connect):
    """Though the application has ended its work, and the connection's keep-alive waits for the answer to be sent."""
    with connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
        with pytest.raises(OSError, match=r"reset|pipe"):
            until(lambda: client.send(b"\r\n") == 0)


def test_a_body_that_goes_on_after_the_answer_is_not_waited_for(connect):
    """Whoever is refused and sends a byte now and then is cut off."""
    with connect() as client, client.makefile("rb") as answers:
        client.sendall(b"POST /work HTTP/1.1\r\nHost: here\r\nContent-Length: 999\r\n\r\n")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        with pytest.raises(OSError, match=r"reset|pipe"):
            until(lambda: client.send(b"b") == 0, within_s=10)


LAST = b"POST /work%s HTTP/1.%d\r\nHost: here\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


def is_answered_once(client: socket.socket, query: bytes, version: int) -> bool:
    """Whether a client that reads when all is sent has the whole answer, and none to the request that it sent next."""
    try:
        client.sendall(LAST % (query, version, 8_000_000) + bytes(8_000_000) + GET + b"\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    except OSError:
        return False
    return answer.count(b"HTTP/1.1 200 OK\r\n") == 1 and answer.endswith(b"4\r\ndone\r\n0\r\n\r\n")


@pytest.mark.parametrize(("query", "version"), [(b"", 1), (b"", 0), (b"?s=0.1", 1)], ids=["1.1", "1.0", "paused"])
def test_who_sends_all_before_reading_has_the_last_answer_too(connect, query, version):
    """Though it was given at the head, on a connection that is then closed: every time."""
    for _ in range(30):
        with connect() as client:
            assert is_answered_once(client, query, version)


def test_a_proxy_has_the_last_answer_too(tmp_path):
    """Nginx sends `Connection: close` over a unix socket, and tells of a bad gateway where it cannot write."""
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service:
        service.ready(0)
        for _ in range(30):
            with socket.socket(socket.AF_UNIX) as proxy:
                proxy.settimeout(10)
                proxy.connect(str(service.socket(0)))
                assert is_answered_once(proxy, b"", 1)


def test_who_is_refused_and_sends_on_has_the_refusal(connect):
    with connect() as client:
        client.sendall(GET + b"X-Long: " + b"x" * 8_000_000)
        assert b"head_too_large" in b"".join(iter(lambda: client.recv(4096), b""))


@pytest.mark.parametrize(("piece", "most"), [(b"b", 10_000), (bytes(2**20), 20_000_000)], ids=["slowly", "fast"])
def test_a_client_that_never_closes_is_not_read_for_ever(connect, piece, most):
    """After its last answer there are bounds in time and in bytes."""
    n_sent = 0

    def send():
        nonlocal n_sent
        client.sendall(piece)
        n_sent += len(piece)
        return n_sent > most

    with connect() as client:
        client.sendall(LAST % (b"", 1, 2**40))
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        with pytest.raises(OSError, match=r"reset|pipe"):
            until(send, within_s=3)


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


def test_a_later_head_is_bounded_like_the_first(connect):
    """After a first request, and after a hundred in one piece."""
    with connect() as client, client.makefile("rb") as answers:
        client.sendall((GET + b"\r\n") * 100)
        for _ in range(100):
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while answers.readline() != b"0\r\n":  # the last chunk
                pass
            assert answers.readline() == b"\r\n"
        client.sendall(GET + b"X-Long: " + b"x" * 8192 + b"\r\n\r\n")
        assert answers.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


def test_a_connection_that_asks_and_asks_is_closed(connect):
    """Requests that wait for the answers before theirs are held in memory: a hundred, and no more."""
    with connect() as client:
        client.sendall((GET + b"\r\n") * 200)
        assert client.recv(1) == b""


@pytest.mark.parametrize("after", [b"\0", CHUNKS + b"?"], ids=["head", "body"])
def test_what_cannot_be_read_has_no_answer_where_another_is_due(connect, after):
    """It would be taken for the first request's."""
    with connect() as client:
        client.sendall(b"GET /work?s=9 HTTP/1.1\r\nHost: here\r\n\r\n" + after)
        assert client.recv(1) == b""


def test_a_body_arrives_though_http2_is_offered(service, connect):
    """Java's client does so with its first request."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    body = b"speech"
    with connect() as client, client.makefile("rb") as answers:
        client.sendall(b"POST /speech HTTP/1.1\r\nHost: here\r\n%sContent-Length: 6\r\n\r\n" % offer + body)
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        while answers.readline() != b"\r\n":
            pass
        answers.readline()  # how long the chunk is
        assert json.loads(answers.readline())["bytes"] == len(body)


def test_leaving_is_noticed_though_another_request_waits(service, connect):
    """The work on the first request ends; the second has not begun."""

    def steps() -> list[str]:
        return [note.step for note in notes(service.faults) if note.request == "leaves"]

    head = b"POST /speech?infer_s=60 HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\nX-Request-ID: leaves\r\n\r\n"
    with connect() as client:
        client.sendall(head + GET + b"\r\n")
        until(lambda: "inferring" in steps())
        assert steps()[-1] == "inferring"
    until(lambda: steps()[-1] == "left")
