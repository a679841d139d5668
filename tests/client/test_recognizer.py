"""A service that says to come again, breaks off, refuses or is no such service, and what becomes of the recordings."""

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from asr_service.client.recognizer import Refused, ServerUnusable, remote_recognizer
from asr_service.formats import FORMATS
from asr_service.transcript import Timing, Transcript

DONE = Transcript("", "transcribe", None, None, 1.0, 0.0, "m", (), (), Timing(0, 0, 0, 0, 0, 0))
WHOLE = FORMATS["ndjson"].render(DONE).encode()


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = WHOLE
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    """Bytes promised, where they are more than there are."""


AGAIN = {"Retry-After": "0"}


@dataclass
class Scripted:
    """A server that gives these answers, the last again and again, and keeps what it was sent."""

    url: str
    answers: list[Answer]
    keys: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            script.keys.append(self.headers["authorization"])
            script.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            answer = script.next()
            self.send_response(answer.status)
            length = len(answer.body) if answer.announced is None else answer.announced
            for name, value in {"Content-Length": str(length), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script = Scripted(f"http://127.0.0.1:{server.server_port}", list(answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def transcribe(url: str, *, api_key: str | None = None) -> Transcript:
    async def last() -> Transcript:
        async with remote_recognizer(url, api_key, (("language", "en"),), pause_s=0.01) as recognizer:
            events = [event async for event in recognizer.transcribe(io.BytesIO(b"sound"))]
        assert isinstance(events[-1], Transcript)
        return events[-1]

    return asyncio.run(last())


@pytest.mark.parametrize(
    "first",
    [
        Answer(503, b"", AGAIN),
        Answer(429, b"", AGAIN),
        Answer(502, b"<html>"),
        Answer(200, b"", {}),
        Answer(200, WHOLE[:20], {}, announced=len(WHOLE)),
        Answer(200, b'{"type":"error","error":{"message":"m","code":"engine_stopped"}}\n'),
    ],
    ids=["busy", "quota", "proxy", "cut before the first line", "cut within a line", "engine stopped"],
)
def test_it_is_sent_again_whole(first):
    """Where the service says so, and where the answer was broken off: the recording and its options, from the start."""
    with scripted(first, Answer()) as server:
        assert transcribe(server.url) == DONE
    assert len(server.bodies) == 2
    assert all(b"sound" in body and b"ndjson" in body and b"language" in body for body in server.bodies)


def test_a_service_that_always_breaks_off_is_given_up():
    """After the third time: what brings a service down is not sent to it for ever."""
    with scripted(Answer(502, b"", AGAIN)) as server, pytest.raises(Refused, match="502"):
        transcribe(server.url)
    assert len(server.bodies) == 3


def test_a_refusal_is_one_recordings_own():
    """A 4xx or a failed inference is not tried again; the message is the service's."""
    body = b'{"error":{"message":"it is no audio","type":"x","param":null,"code":"unsupported_audio"}}'
    with scripted(Answer(415, body)) as server, pytest.raises(Refused, match="it is no audio"):
        transcribe(server.url)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(401, b'{"error":{"message":"show a key"}}'), "show a key"),
        (Answer(404, b"nothing"), "404"),
        (Answer(308, b"", {"Location": "https://elsewhere/"}), "elsewhere"),
        (Answer(200, b"<html>hello</html>"), "does not answer as this service does"),
    ],
)
def test_what_holds_for_all_recordings_ends_the_run(answer, says):
    """A key that is refused, a wrong address: exit code 69, after one request."""
    with scripted(answer) as server, pytest.raises(ServerUnusable, match=says) as raised:
        transcribe(server.url)
    assert (len(server.bodies), raised.value.exit_code) == (1, 69)


def test_what_the_service_has_tried_for_as_long_as_it_may_is_not_sent_again():
    """Its own 504 says so; a proxy's does not, and may be a slow start."""
    with scripted(Answer(504, b"", {"x-should-retry": "false"})) as server, pytest.raises(Refused, match="504"):
        transcribe(server.url)
    assert len(server.bodies) == 1


def test_nobody_there_is_told_at_once():
    """Without waiting for a service that was never reached."""
    with scripted(Answer()) as server:
        pass
    with pytest.raises(ServerUnusable, match="cannot be reached"):
        transcribe(server.url)


def test_the_key_is_shown_and_the_name_is_not():
    """Authorization: Bearer; what the file is called is not sent."""
    with scripted(Answer()) as server:
        transcribe(server.url, api_key="secret")
    assert server.keys == ["Bearer secret"]
    assert b'filename="recording"' in server.bodies[0]
