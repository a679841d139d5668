"""How the client handles a service that is busy, breaks off, refuses, or is a different program."""

import asyncio
import io
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from asr_service.client import ApiKeyRejected, AuthorityUnknown, RecordingRefused, ServerUnusable, connect
from asr_service.formats import FORMATS
from asr_service.transcript import Timing, Transcript
from http_servers import Handler, serving_http

DONE = Transcript("", "transcribe", None, None, 1.0, 0.0, "m", (), (), Timing(0, 0, 0, 0, 0, 0))
WHOLE = FORMATS["ndjson"].render(DONE).encode()


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = WHOLE
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    """Content-Length, if it is more than the body has."""


RETRY_AT_ONCE = {"Retry-After": "0"}


@dataclass
class Scripted:
    """A server that gives these answers in order, repeats the last one, and records the requests."""

    url: str
    answers: list[Answer]
    keys: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    class Player(Handler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            script.keys.append(self.headers["authorization"])
            script.bodies.append(self.body())
            answer = script.next()
            length = len(answer.body) if answer.announced is None else answer.announced
            headers = {"content-length": str(length), "connection": "close", **answer.headers}
            self.answer(answer.status, answer.body, headers)
            self.close_connection = True

        def do_GET(self) -> None:
            self.do_POST()

    script = Scripted("", list(answers))
    with serving_http(Player, tls) as script.url:
        yield script


def transcribe(url: str, *, api_key: str | None = None, ca_file: Path | None = None) -> Transcript:
    async def last() -> Transcript:
        async with connect(url, api_key, delay_s=0.01, ca_file=ca_file) as client:
            events = [event async for event in client.transcribe(io.BytesIO(b"sound"), {"language": "en"})]
        assert isinstance(events[-1], Transcript)
        return events[-1]

    return asyncio.run(last())


@pytest.mark.parametrize(
    "first",
    [
        Answer(503, b"", RETRY_AT_ONCE),
        Answer(429, b"", RETRY_AT_ONCE),
        Answer(502, b"<html>"),
        Answer(200, b"", {}),
        Answer(200, WHOLE[:20], {}, announced=len(WHOLE)),
        Answer(200, b'{"type":"error","error":{"message":"m","code":"engine_stopped"}}\n'),
    ],
    ids=["busy", "quota", "proxy", "cut before the first line", "cut within a line", "engine stopped"],
)
def test_a_busy_or_interrupted_service_gets_the_whole_recording_again(first):
    """After a 429, a 503, a 502 or a response that broke off, the client sends the recording and its options again."""
    with scripted(first, Answer()) as server:
        assert transcribe(server.url) == DONE
    assert len(server.bodies) == 2
    assert all(b"sound" in body and b"ndjson" in body and b"language" in body for body in server.bodies)


def test_the_client_gives_up_after_three_interrupted_attempts():
    """A recording that crashes the service is not sent for ever."""
    with scripted(Answer(502, b"", RETRY_AT_ONCE)) as server, pytest.raises(RecordingRefused, match="502"):
        transcribe(server.url)
    assert len(server.bodies) == 3


def test_a_refused_recording_is_not_sent_again():
    """A 4xx raises RecordingRefused with the service's message after one request."""
    body = b'{"error":{"message":"This is not audio.","type":"x","param":null,"code":"unsupported_audio"}}'
    with scripted(Answer(415, body)) as server, pytest.raises(RecordingRefused, match="This is not audio"):
        transcribe(server.url)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(401, b'{"error":{"message":"Send a key."}}'), "Send a key"),
        (Answer(403, b'{"error":{"message":"The firewall takes it for an attack."}}'), "The firewall takes"),
        (Answer(404, b"nothing"), "404"),
        (Answer(308, b"", {"Location": "https://elsewhere/"}), "elsewhere"),
        (Answer(200, b"<html>hello</html>"), "does not answer as this service does"),
    ],
)
def test_a_server_that_no_recording_can_use_raises_at_once(answer, message):
    """A rejected key or a wrong address raises ServerUnusable, whose exit code is 69, after one request."""
    with scripted(answer) as server, pytest.raises(ServerUnusable, match=message) as raised:
        transcribe(server.url)
    assert (len(server.bodies), raised.value.exit_code) == (1, 69)


def test_a_rejected_key_has_an_error_of_its_own():
    """The caller can tell a missing or wrong API key from a wrong address."""
    with scripted(Answer(401, b"")) as server, pytest.raises(ApiKeyRejected, match="401"):
        transcribe(server.url)


def test_a_recording_that_used_up_its_time_is_not_sent_again():
    """The service marks its own 504 with x-should-retry: false. A proxy's 504 may mean a slow start and is retried."""
    with (
        scripted(Answer(504, b"", {"x-should-retry": "false"})) as server,
        pytest.raises(RecordingRefused, match="504"),
    ):
        transcribe(server.url)
    assert len(server.bodies) == 1


def test_a_service_that_was_never_reached_raises_at_once():
    """The client does not wait for an address where nothing listens."""
    with scripted(Answer()) as server:
        pass
    with pytest.raises(
        ServerUnusable, match=r"cannot be reached: [^\[]+\. Check the address, and that the service runs"
    ):
        transcribe(server.url)


def test_the_key_is_sent_and_the_file_name_is_not():
    """The request has Authorization: Bearer, and a fixed name in place of the file's."""
    with scripted(Answer()) as server:
        transcribe(server.url, api_key="secret")
    assert server.keys == ["Bearer secret"]
    assert b'filename="recording"' in server.bodies[0]


def test_a_private_certificate_authority_is_trusted_if_it_is_named(tmp_path, monkeypatch):
    """By `ca_file`, or by SSL_CERT_FILE as for other programs. Without it, the certificate is refused."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with scripted(Answer(), tls=tls) as server:
        with pytest.raises(AuthorityUnknown, match=r"is not trusted: unable to get local issuer certificate\."):
            transcribe(server.url)
        assert transcribe(server.url, ca_file=tmp_path / "ca.pem") == DONE
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert transcribe(server.url) == DONE


@pytest.mark.parametrize(
    ("host", "days", "message"),
    [
        ("example.org", 1, "is not valid: IP address mismatch.* Use a name in the address that the certificate has"),
        ("127.0.0.1", -1, "is not valid: certificate has expired. Renew it, or correct the clock of this machine"),
    ],
)
def test_a_certificate_for_another_host_or_time_is_refused_with_its_reason(host, days, message, tmp_path):
    """Another authority would not help, so the message does not advise one."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    end = datetime.now(UTC) + timedelta(days=days)
    authority.issue_cert(host, not_before=end - timedelta(days=9), not_after=end).configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with scripted(Answer(), tls=tls) as server, pytest.raises(ServerUnusable, match=message):
        transcribe(server.url, ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.pem", "cannot be read: No such file"),
        ("", "cannot be read: Is a directory"),
        ("no.pem", "in PEM format"),
    ],
)
def test_a_file_without_a_certificate_is_refused(name, message, tmp_path):
    """The message names the file, before anything is sent."""
    (tmp_path / "no.pem").write_text("no certificate")
    with scripted(Answer()) as server, pytest.raises(ServerUnusable, match=message) as refused:
        transcribe(server.url, ca_file=tmp_path / name)
    assert str(tmp_path / name) in refused.value.message
    assert server.bodies == []
