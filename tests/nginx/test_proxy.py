"""How Nginx handles requests while all slots are ready: balancing, refusals, headers, logs and access."""

import contextlib
import json
import re
import shutil
import socket
import ssl
import subprocess
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from nginx.conftest import Stack
from nginx.proxy import Nginx, needs_nginx
from serving.fake_speech import REFUSAL
from waiting import until

pytestmark = needs_nginx


def check_error(answer: httpx.Response, status: int, code: str) -> None:
    """Assert that the answer has the service's error format and a request id."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, None)
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert answer.headers["strict-transport-security"] == "max-age=63072000"


def test_a_request_goes_to_the_slot_with_the_fewest_open_requests(stack: Stack) -> None:
    """Sixteen requests at once are eight for each slot. When one slot has finished, the next requests go there.

    However Nginx' own processes share the connections: they count together.
    """
    with ThreadPoolExecutor(24) as pool:

        def begin(names: list[str]) -> tuple[list[Future[httpx.Response]], Counter[int]]:
            answers = [pool.submit(stack.nginx.post, "/stream", headers={"x-request-id": name}) for name in names]
            return answers, Counter(stack.at(name, "streaming").slot for name in names)

        held, taken = begin([f"together-{n}" for n in range(16)])
        assert taken == {0: 8, 1: 8}
        with stack.fault("go.0"):
            until(lambda: sum(answer.done() for answer in held) == 8, what="the end of the first slot's eight")
        more, taken = begin([f"later-{n}" for n in range(8)])
        assert taken == {0: 8}
        with stack.fault("go"):
            assert {answer.result().text for answer in held + more} == {"first\nlast\n"}


def test_an_idempotency_key_always_goes_to_one_slot(stack: Stack) -> None:
    """Each slot keeps its own answers. Different keys use both slots."""

    def slot(key: str) -> int:
        answer: int = stack.nginx.post(headers={"idempotency-key": key}).json()["slot"]
        return answer

    slots = {key: slot(key) for key in map(str, range(13))}
    assert set(slots.values()) == {0, 1}
    assert {key: slot(key) for key in reversed(slots)} == slots


def test_an_upload_arrives_complete(stack: Stack) -> None:
    """It is so large that Nginx stores it on disk, with and without a Content-Length."""
    body = bytes(range(256)) * 4096 * 6
    assert stack.nginx.post(body=body).json()["bytes"] == len(body)
    halves = (half for half in (body[:3000], body[3000:]))
    assert stack.nginx.request("POST", "/speech", content=halves).json()["bytes"] == len(body)


def test_the_503_of_a_saturated_slot_is_passed_on(stack: Stack) -> None:
    """The slot's 503 and its Retry-After arrive unchanged, and the other slot does not get the request."""
    with stack.fault("full"):
        answer = stack.nginx.post(headers={"x-request-id": "saturated"})
    assert (answer.status_code, answer.content) == (503, REFUSAL)
    assert answer.headers.get_list("retry-after") == ["7"]
    assert [note.step for note in stack.notes("saturated")] == ["refused"]


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_that_is_too_large_never_reaches_a_slot(stack: Stack, announced: bool) -> None:
    """It is refused at once if its length is known, else at the limit, ASR_MAX_UPLOAD_BYTES."""
    body = bytes(stack.settings.max_upload_bytes + 1)
    content: Any = body if announced else iter([body[:-1], body[-1:]])
    answer = stack.nginx.request("POST", "/speech", content=content, headers={"x-request-id": f"large-{announced}"})
    check_error(answer, 413, "upload_too_large")
    assert not stack.notes(f"large-{announced}")


def test_a_slow_upload_occupies_no_slot_and_is_aborted(stack: Stack) -> None:
    """No part is passed on. After ASR_UPLOAD_TIMEOUT_S without a byte the connection is closed, logged as 408."""
    with stack.nginx.connect() as slow:
        slow.sendall(
            b"POST /speech HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: slow\r\n"
            b"Content-Length: 900000\r\n\r\nand then nothing"
        )
        assert stack.nginx.post().status_code == 200
        assert slow.recv(100) == b""
    assert stack.nginx.logged("slow")["status"] == 408
    assert not stack.notes("slow")


def test_the_work_of_a_client_that_disconnects_is_cancelled(stack: Stack) -> None:
    """The slot notices the disconnect and cancels the work."""
    with stack.nginx.connect() as client:
        client.sendall(
            b"POST /speech?infer_s=60 HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: gone\r\nContent-Length: 1\r\n\r\nx"
        )
        stack.at("gone", "inferring")
    stack.at("gone", "left")
    assert stack.nginx.logged("gone")["status"] == 499


def test_a_stream_passes_line_by_line(stack: Stack) -> None:
    """The first line arrives while the slot still works on the last one."""
    with (
        httpx.Client(verify=stack.certificate.trust, timeout=60) as client,
        client.stream("POST", f"{stack.nginx.url}/stream", headers={"x-request-id": "stream"}) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "first"
        with stack.fault("go"):
            assert list(lines) == ["last"]
    assert "x-accel-buffering" not in answer.headers


def test_a_request_keeps_its_id_or_gets_one(stack: Stack) -> None:
    """A valid id is passed on and answered once. An invalid one is replaced, as by the service."""
    for given, kept in (("call-0042/a:b+c=d_e.f", True), ("no blanks", False), ("x" * 129, False), (None, False)):
        answer = stack.nginx.post(headers={} if given is None else {"x-request-id": given})
        (result,) = answer.headers.get_list("x-request-id")
        assert (result == given) is kept
        assert answer.json()["headers"]["x-request-id"] == result
        assert stack.nginx.logged(result)["status"] == 200


def test_a_client_cannot_set_its_own_address(stack: Stack) -> None:
    """Nginx sets X-Forwarded-* itself."""
    forged = {"x-forwarded-for": "10.9.8.7", "x-forwarded-proto": "http"}
    result = stack.nginx.post(headers=forged).json()["headers"]
    assert (result["x-forwarded-for"], result["x-forwarded-proto"]) == ("127.0.0.1", "https")
    assert result["host"] == "localhost"


def test_the_log_has_one_json_line_per_request(stack: Stack) -> None:
    """It has the client, the request, the slot and the time of each part, but no query, which may contain a prompt."""
    stack.nginx.post("/speech?infer_s=0.2&prompt=secret", headers={"x-request-id": "logged", "user-agent": 'a"b\\'})
    line = stack.nginx.logged("logged")
    assert (line["method"], line["path"], line["status"], line["client"]) == ("POST", "/speech", 200, "127.0.0.1")
    assert line["upstream"] in {f"unix:{stack.service.socket(slot)}" for slot in (0, 1)}
    assert line["upstream_status"] == "200"
    assert all(float(line[name]) > 0.1 for name in ("seconds", "upstream_s", "upstream_header_s"))  # of the 0.2
    assert line["received_bytes"] > len(b"speech")
    assert line["agent"] == 'a"b\\'
    assert "secret" not in (stack.nginx.folder / "access.log").read_text()


@pytest.mark.parametrize("byte", [b"\xff", b"\xc2\x9b", b"\x7f"], ids=["no-utf-8", "c1", "del"])
def test_the_log_is_ascii_whatever_clients_send(stack: Stack, byte: bytes) -> None:
    """Raw bytes could make the JSON invalid, or manipulate the terminal that shows it."""
    name = f"raw-{byte.hex()}"
    head = b"GET /%b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a%b\r\nX-Request-ID: %b\r\nConnection: close\r\n\r\n"
    with stack.nginx.connect() as client:
        client.sendall(head % (b"" if byte == b"\x7f" else byte, byte, name.encode()))
        assert client.recv(100)
    log = stack.nginx.folder / "access.log"
    line = until(lambda: next((line for line in log.read_bytes().splitlines() if name.encode() in line), None))
    assert all(0x20 <= byte <= 0x7E for byte in line)
    assert json.loads(line)["agent"] == "not ASCII"


@pytest.mark.parametrize(
    ("request_bytes", "refusal"),
    [
        (b"NONSENSE\r\n\r\n", (400, "malformed_request")),
        (b"GET / HTTP/1.1\r\n\r\n", (400, "malformed_request")),
        (b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, "malformed_request")),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 65_700 + b"\r\n\r\n", (431, "head_too_large")),
        (b"GET /" + b"a" * 65_700 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (431, "head_too_large")),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n",
            (501, "unsupported_transfer_encoding"),
        ),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            (501, "unsupported_transfer_encoding"),
        ),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 9000 + b"\r\n\r\n",
            (400, "malformed_request"),
        ),
        (b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", (400, "malformed_request")),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, "malformed_request")),
    ],
    ids=[
        *("no-http", "no-host", "trace", "long-header", "long-address"),
        *("unknown-transfer-encoding", "two-transfer-encodings", "long-length", "unknown-version", "connect"),
    ],
)
def test_an_invalid_request_gets_the_same_error_format(
    stack: Stack, request_bytes: bytes, refusal: tuple[int, str]
) -> None:
    with stack.nginx.connect() as client:
        client.sendall(request_bytes[:65_600])
        with contextlib.suppress(OSError):  # it may have been refused already
            client.sendall(request_bytes[65_600:])
        status, error = read_error(client)
    assert (status, error["code"]) == refusal


def test_a_long_prompt_can_be_part_of_the_url(stack: Stack) -> None:
    """The service accepts 4000 characters of any script."""
    assert stack.nginx.post("/speech", params={"initial_prompt": "語" * 4000}).status_code == 200


def test_http_on_the_https_port_gets_the_same_error_format(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.nginx.https_port), timeout=60) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        status, error = read_error(client)
    assert (status, error["code"]) == (400, "malformed_request")


def test_http_redirects_to_https(stack: Stack) -> None:
    """The status keeps the method and the body. The target is the service's own name, whatever Host says."""
    url = f"http://127.0.0.1:{stack.nginx.http_port}/speech?a=b"
    answer = httpx.post(url, content=b"speech", headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers["location"]) == (308, f"{stack.nginx.url}/speech?a=b")


@pytest.mark.parametrize(
    ("ciphers", "accepted"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256", False),
        ("ECDHE-ECDSA-AES256-CCM:ECDHE-ECDSA-AES256-SHA", False),
    ],
)
def test_tls_1_2_has_mozillas_intermediate_ciphers(stack: Stack, ciphers: str, accepted: bool) -> None:
    """Only ciphers with forward secrecy and authenticated encryption are accepted."""
    assert shakes_hands(stack.nginx, ciphers, ssl.TLSVersion.TLSv1_2) is accepted


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_is_1_2_or_1_3(stack: Stack, tmp_path: Path) -> None:
    """Older versions are refused even if the ciphers would allow them, whatever nginx.conf contains."""

    def lax(text: str) -> str:
        return re.sub("ssl_ciphers .*;", "ssl_ciphers ALL:@SECLEVEL=0;", text)

    with stack.another(tmp_path / "nginx", change=lax) as nginx:
        assert not shakes_hands(nginx, "ALL", ssl.TLSVersion.TLSv1_1)
        assert shakes_hands(nginx, "ALL", ssl.TLSVersion.TLSv1_2)
        assert shakes_hands(nginx, "ALL", ssl.TLSVersion.TLSv1_3)


def shakes_hands(nginx: Nginx, ciphers: str, version: ssl.TLSVersion) -> bool:
    trust = ssl.create_default_context(cafile=str(nginx.certificate.authority))
    trust.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    trust.minimum_version = trust.maximum_version = version
    with socket.create_connection(("127.0.0.1", nginx.https_port), timeout=60) as plain:
        try:
            trust.wrap_socket(plain, server_hostname="localhost").close()
        except (ssl.SSLError, ConnectionError):
            return False
        return True


@pytest.mark.needs_program("curl")
def test_http_2_is_supported(stack: Stack) -> None:
    """A client that offers HTTP/2 gets it, and Nginx's own errors have the same format there."""
    curl = [
        "curl",
        "--silent",
        "--http2",
        "--cacert",
        str(stack.certificate.authority),
        "-w",
        "\n%{http_version} %{http_code}",
    ]
    result = subprocess.run(
        [*curl, "-F", "file=@-;filename=a", f"{stack.nginx.url}/speech"],
        input=b"speech", capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert result.endswith(b"\n2 200")
    result = subprocess.run(
        [*curl, "--data-binary", "@-", f"{stack.nginx.url}/speech"],
        input=bytes(stack.settings.max_upload_bytes + 1), capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert result.endswith(b"\n2 413")
    assert json.loads(result.splitlines()[0])["error"]["code"] == "upload_too_large"


def test_metrics_and_health_are_only_for_inside_addresses(stack: Stack, tmp_path: Path) -> None:
    """/metrics, /health and the health of each slot are only for the named addresses; the readiness probe is public."""
    inner = ("/metrics", "/health", "/health/slots/0", "/health/slots/1", "/metrics/", "/health/", "//health//")
    with stack.another(tmp_path / "nginx", inside=("127.0.0.2", "192.0.2.0/24")) as nginx:
        for path in inner:
            check_error(nginx.get(path), 403, "forbidden")
            assert nginx.get(path, come_from="127.0.0.2").status_code == 200
        assert [nginx.get(f"/health/slots/{slot}", come_from="127.0.0.2").json()["slot"] for slot in (0, 1)] == [0, 1]
        assert {nginx.get(path).status_code for path in ("/health/ready", "/health/live")} == {200}


def test_one_address_cannot_send_too_many_requests_per_second(stack: Stack, tmp_path: Path) -> None:
    """A burst of three times the rate is accepted; more gets a 429 with Retry-After. Probes are never refused."""
    with stack.another(tmp_path / "nginx", requests_per_s=1) as nginx:
        assert [nginx.post().status_code for _ in range(4)] == [200] * 4
        refused = next(answer for answer in (nginx.post() for _ in range(100)) if answer.status_code != 200)
        check_error(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == "1"
        assert all(nginx.get("/health/ready").status_code == 200 for _ in range(8))
        # A browser asks for all files of the page at once.
        assert all(nginx.get("/page/0/app.js").status_code == 200 for _ in range(8))


def test_one_address_cannot_have_too_many_open_requests(stack: Stack, tmp_path: Path) -> None:
    """With a limit of two, the third is refused. Another address is served, and so is a request after one has ended."""
    with stack.another(tmp_path / "nginx", connections=2) as nginx, ThreadPoolExecutor() as pool:
        open_requests = [
            pool.submit(nginx.post, "/speech?infer_s=60", headers={"x-request-id": f"open-{n}"}) for n in (0, 1)
        ]
        pids = [stack.at(f"open-{n}", "inferring").pid for n in (0, 1)]
        assert len(set(pids)) == 2
        check_error(nginx.post(), 429, "rate_limited")
        assert nginx.post(come_from="127.0.0.2").status_code == 200
        for pid in pids:
            stack.service.signal(9, pid)  # type: ignore[arg-type]
        assert {request.result().status_code for request in open_requests} == {502}
        stack.service.ready(0, 1)
        assert nginx.post().status_code == 200


def test_a_full_upload_disk_gives_a_503_with_retry_after(stack: Stack, tmp_path: Path) -> None:
    """An upload that Nginx cannot store gets a 503 with Retry-After, because a retry can succeed."""
    with stack.another(tmp_path / "nginx") as nginx:
        until((tmp_path / "nginx" / "body").exists)
        shutil.rmtree(tmp_path / "nginx" / "body")
        answer = nginx.post(body=bytes(1_000_000))
        check_error(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "5"


def test_a_slot_that_does_not_answer_in_time_gives_a_504(stack: Stack, tmp_path: Path) -> None:
    """The answer is a 504, no other slot gets the request, and the slot is still used."""

    def impatient(text: str) -> str:
        assert text.count("proxy_read_timeout 315s;") == 1
        return text.replace("proxy_read_timeout 315s;", "proxy_read_timeout 300ms;")

    with stack.another(tmp_path / "nginx", change=impatient) as nginx:
        answer = nginx.post("/speech?infer_s=60", headers={"x-request-id": "late"})
        check_error(answer, 504, "deadline_exceeded")
        assert answer.headers["x-should-retry"] == "false"
        assert {nginx.post().json()["slot"] for _ in range(4)} == {0, 1}
    assert [note.step for note in stack.notes("late")][:3] == ["receiving", "decoding", "inferring"]
    assert Counter(note.step for note in stack.notes("late"))["inferring"] == 1


def test_the_error_log_has_neither_keys_nor_queries(stack: Stack, tmp_path: Path) -> None:
    """Nginx adds the whole request line to its messages, and rejected header lines at the level info of nginx.conf."""
    secret = "sekret"
    with stack.another(tmp_path / "nginx", connections=1) as nginx:
        for given in ({"x_api_key": secret}, {f"x-api-key\x01{secret}": "a"}, {"authorization": f"Bearer {secret}"}):
            lines = [f"{name}: {value}" for name, value in given.items()]
            head = [f"GET /languages?prompt={secret} HTTP/1.1", "Host: localhost", *lines, "Connection: close", "", ""]
            with nginx.connect() as client:
                client.sendall("\r\n".join(head).encode())
                assert client.recv(100)
        assert nginx.post(f"/speech?prompt={secret}", body=bytes(1_000_000)).status_code == 200
        too_large = bytes(stack.settings.max_upload_bytes + 1)
        assert nginx.post(f"/speech?prompt={secret}", body=too_large).status_code == 413
        assert nginx.get(f"/metrics?prompt={secret}", come_from="127.0.0.2").status_code == 403
        with ThreadPoolExecutor() as pool:
            lost = pool.submit(
                nginx.post, f"/speech?infer_s=60&prompt={secret}", headers={"x-request-id": "in-error-log"}
            )
            victim = stack.at("in-error-log", "inferring")
            assert nginx.post(f"/speech?prompt={secret}").status_code == 429
            stack.service.signal(9, victim.pid)  # type: ignore[arg-type]
            assert lost.result().status_code == 502
        nginx.post(f"/speech?prompt={secret}")
        stack.service.ready(0, 1)
    for log in ("error.log", "asr-service.error.log", "output"):
        text = (tmp_path / "nginx" / log).read_text()
        assert secret not in text, text
        assert "[crit]" not in text, text


def read_error(client: socket.socket) -> tuple[int, dict[str, str]]:
    head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    error: dict[str, str] = json.loads(body)["error"]
    return int(head.split()[1]), error
