"""Connections: limits on heads, pipelined requests, ignored bodies and unread answers; closing in two steps."""

import json
import socket
import time
from typing import BinaryIO

import pytest

from serving.fake_speech import notes
from serving.harness import running
from waiting import until


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    limits = {
        "head_s": 1,
        "max_head_bytes": 8192,
        "unread_s": 1,
        "lingering_close_s": 1,
        "lingering_close_bytes": 10_000_000,
        "keep_alive_s": 2,
    }
    with running(tmp_path_factory.mktemp("protocol"), limits) as service:
        yield service.ready()


def test_a_silent_connection_is_closed_without_an_answer(connect):
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
        (GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "malformed_request", "not valid HTTP"),
        (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "malformed_request", "not valid HTTP"),
        (GET + b"Content-Length: -1\r\n\r\n", 400, "malformed_request", "not valid HTTP"),
        (GET + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n", 400, "malformed_request", "not valid HTTP"),
        (GET + b"A : b\r\n\r\n", 400, "malformed_request", "not valid HTTP"),
        (GET + b"A: b\x00c\r\n\r\n", 400, "malformed_request", "not valid HTTP"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "malformed_request", "not valid HTTP"),
        (GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "unsupported_transfer_encoding", "chunked"),
        (GET + b"transfer-encoding: xchunked\r\n\r\n", 501, "unsupported_transfer_encoding", "chunked"),
        (b"GET /work HTTP/1.1\r\n\r\n", 400, "malformed_request", "one Host header"),
        (GET + b"Host: there\r\n\r\n", 400, "malformed_request", "one Host header"),
        (b"GET /work HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "malformed_request", "one Host header"),
        (b"POST /speech HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", 400, "malformed_request", "Host"),
    ],
    ids=range(19),
)
def test_an_invalid_head_is_refused(connect, sent, status, code, said):
    """A head that is slow, long or ambiguous gets an error in the usual shape, and the connection is closed."""
    with connect() as client:
        client.sendall(sent)
        head, body = b"".join(iter(lambda: client.recv(4096), b"")).split(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert int(head.split()[1]) == status
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert said in error["message"]


@pytest.mark.parametrize("pause_s", [0.01, 0.5], ids=["often", "seldom"])
def test_a_client_that_reads_nothing_of_its_answer_is_cut_off(connect, pause_s):
    """Bytes that it sends meanwhile do not extend the time-out, however often they come."""

    def send():
        time.sleep(pause_s)
        return client.send(b"\r\n") == 0

    with connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
        with pytest.raises(OSError, match=r"reset|pipe"):
            until(send)


def test_a_client_that_reads_its_answer_slowly_is_not_cut_off(connect):
    """Reading takes longer than a client may read nothing, and longer than an idle connection is kept."""
    with connect() as client, client.makefile("rb") as answer:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
        started_s = time.monotonic()
        while time.monotonic() < started_s + 4:
            answer.read(200_000)
            time.sleep(0.2)
        rest = answer.read()
    assert rest.endswith(b"\r\n0\r\n\r\n")


def test_line_ends_between_requests_do_not_keep_a_connection_open(connect):
    """An idle connection is closed after its time-out, whatever line ends the client sends."""

    def send():
        time.sleep(0.1)
        return client.send(b"\r\n") == 0

    with connect() as client, client.makefile("rb") as answers:
        client.sendall(GET + b"\r\n")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        with pytest.raises(OSError, match=r"reset|pipe"):
            until(send)


def test_a_connection_is_closed_when_idle_after_a_late_body(connect):
    """The rest of a body that arrives after the answer does not switch the idle time-out off."""
    with connect() as client, client.makefile("rb") as answers:
        client.sendall(b"POST /work HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\na")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        client.sendall(b"b")
        answers.read()


def test_a_body_that_goes_on_after_the_answer_is_not_waited_for(connect):
    """A client whose request was answered early and that sends a byte now and then is cut off."""
    with connect() as client, client.makefile("rb") as answers:
        client.sendall(b"POST /work HTTP/1.1\r\nHost: here\r\nContent-Length: 999\r\n\r\n")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        with pytest.raises(OSError, match=r"reset|pipe"):
            until(lambda: client.send(b"b") == 0)


LAST = b"POST /work%s HTTP/1.%d\r\nHost: here\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


def is_answered_once(client: socket.socket, query: bytes, version: int) -> bool:
    """Return whether a client that sends everything before it reads gets the whole answer, and no second answer."""
    try:
        client.sendall(LAST % (query, version, 8_000_000) + bytes(8_000_000) + GET + b"\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    except OSError:
        return False
    end = b"4\r\ndone\r\n0\r\n\r\n" if version else b"\r\n\r\ndone"
    return answer.count(b"HTTP/1.1 200 OK\r\n") == 1 and answer.endswith(end)


@pytest.mark.parametrize(("query", "version"), [(b"", 1), (b"", 0), (b"?s=0.1", 1)], ids=["1.1", "1.0", "paused"])
def test_a_client_that_sends_everything_before_reading_gets_the_last_answer(connect, query, version):
    """The answer was given before the body came, on a connection that is then closed. It arrives every time."""
    for _ in range(30):
        with connect() as client:
            assert is_answered_once(client, query, version)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("path", [b"/work", b"/large"])
def test_a_client_of_http_1_0_gets_no_chunks(connect, method, path):
    """It knows neither chunks nor `100 Continue`. The end of the connection is the end of the answer."""
    head = b"%s %s HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n" % (method, path)
    with connect() as client:
        client.sendall(head)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    fields, body = answer.split(b"\r\n\r\n", 1)
    assert fields.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"transfer-encoding" not in fields.lower()
    whole = {b"/work": b"done", b"/large": bytes(16_000_000)}[path]
    assert body == (b"" if method == b"HEAD" else whole)


def test_a_proxy_gets_the_last_answer(tmp_path):
    """Nginx sends `Connection: close` over a unix socket, and answers 502 if it cannot write."""
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service:
        service.ready(0)
        for _ in range(30):
            with socket.socket(socket.AF_UNIX) as proxy:
                proxy.settimeout(10)
                proxy.connect(str(service.socket(0)))
                assert is_answered_once(proxy, b"", 1)


def test_a_refused_client_that_goes_on_sending_gets_the_refusal(connect):
    with connect() as client:
        client.sendall(GET + b"X-Long: " + b"x" * 8_000_000)
        assert b"head_too_large" in b"".join(iter(lambda: client.recv(4096), b""))


@pytest.mark.parametrize(("piece", "most"), [(b"b", 10_000), (bytes(2**20), 20_000_000)], ids=["slowly", "fast"])
def test_a_lingering_close_ends(connect, piece, most):
    """After its last answer a client is read from for a limited time and a limited number of bytes."""
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
            until(send)


def test_a_body_does_not_count_as_a_head(connect):
    """A body may be larger than a head may, and arrive in one piece with it; a second request may follow."""
    body = b"b" * 100_000
    request = b"POST /work HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with connect() as client, client.makefile("rb") as answers:
        for _ in range(2):
            client.sendall(request)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while answers.readline() != b"0\r\n":  # the last chunk
                pass
            assert answers.readline() == b"\r\n"


def test_the_limit_of_a_head_holds_for_later_requests(connect):
    """It holds after a hundred requests in one piece."""
    with connect() as client, client.makefile("rb") as answers:
        client.sendall((GET + b"\r\n") * 100)
        for _ in range(100):
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while answers.readline() != b"0\r\n":  # the last chunk
                pass
            assert answers.readline() == b"\r\n"
        client.sendall(GET + b"X-Long: " + b"x" * 8192 + b"\r\n\r\n")
        assert answers.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


def test_a_connection_with_too_many_pipelined_requests_is_closed(connect):
    """Pipelined requests are held in memory: at most a hundred."""
    with connect() as client:
        client.sendall((GET + b"\r\n") * 200)
        assert client.recv(1) == b""


@pytest.mark.parametrize("after", [b"\0", CHUNKS + b"?"], ids=["head", "body"])
def test_a_malformed_request_gets_no_answer_while_another_is_due(connect, after):
    """The client would take it for the answer to its first request."""
    with connect() as client:
        client.sendall(b"GET /work?s=9 HTTP/1.1\r\nHost: here\r\n\r\n" + after)
        assert client.recv(1) == b""


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
OFFERING = b"POST /speech HTTP/1.1\r\nHost: here\r\n%sContent-Length: 6\r\n\r\nspeech" % OFFER
OFFERING_IN_CHUNKS = (
    b"POST /speech HTTP/1.1\r\nHost: here\r\n%sTransfer-Encoding: chunked\r\n\r\n6\r\nspeech\r\n0\r\n\r\n" % OFFER
)


def body_sizes(answers: BinaryIO, n: int) -> list[int]:
    """Read `n` answers of /speech, and return how many bytes of a body each request had."""
    sizes = []
    for _ in range(n):
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        while answers.readline() != b"\r\n":
            pass
        chunk = answers.read(int(answers.readline(), 16))
        sizes.append(json.loads(chunk)["bytes"])
        assert answers.readline() == b"\r\n"
        while answers.readline() != b"\r\n":  # the last chunk
            pass
    return sizes


@pytest.mark.parametrize("request_", [OFFERING, OFFERING_IN_CHUNKS], ids=["length", "chunks"])
def test_an_offered_upgrade_is_ignored_wherever_the_head_is_split(connect, request_):
    """The body is read as the body, as Java's client expects, which offers HTTP/2 with its first request."""
    with connect() as client, client.makefile("rb") as answers:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for split in range(1, len(request_)):
            client.sendall(request_[:split])
            time.sleep(0.001)
            client.sendall(request_[split:])
            assert body_sizes(answers, 1) == [6], request_[:split]


def test_an_upgrade_offered_byte_by_byte_is_ignored(connect):
    with connect() as client, client.makefile("rb") as answers:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in OFFERING:
            client.sendall(bytes([byte]))
            time.sleep(0.001)
        assert body_sizes(answers, 1) == [6]


def test_an_upgrade_offered_after_another_request_is_ignored(connect):
    """Several requests arrive in one piece, so that a head follows a body in the same read."""
    with connect() as client, client.makefile("rb") as answers:
        client.sendall(OFFERING * 20 + OFFERING_IN_CHUNKS * 20)
        assert body_sizes(answers, 40) == [6] * 40


def test_a_disconnect_is_noticed_while_another_request_waits(service, connect):
    """The work on the first request is cancelled; the second has not begun."""

    def steps() -> list[str]:
        return [note.step for note in notes(service.faults) if note.request == "leaves"]

    head = b"POST /speech?infer_s=60 HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\nX-Request-ID: leaves\r\n\r\n"
    with connect() as client:
        client.sendall(head + GET + b"\r\n")
        until(lambda: "inferring" in steps())
        assert steps()[-1] == "inferring"
    until(lambda: steps()[-1] == "left")
