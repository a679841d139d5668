"""A client that disconnects ends its request: no more inference, and no resource stays in use."""

import contextlib
import socket
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from api.live import Live, read_answer, serving, tone
from fakes import FakeModel
from waiting import until

HEAD = "POST /transcribe?{query} HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nContent-Length: {n}\r\n\r\n"


def send(live: Live, audio: bytes, *, query: str = "", announced: int | None = None) -> socket.socket:
    peer = live.connect()
    head = HEAD.format(query="vad_filter=false" + query, n=len(audio) if announced is None else announced)
    peer.sendall(head.encode() + audio)
    return peer


def spooled() -> list[str]:
    """Return the deleted files that this process has open. Uploads are stored in such files."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(descriptor.readlink()))
    return [link for link in links if link.startswith(tempfile.gettempdir()) and link.endswith("(deleted)")]


@pytest.fixture
def held():
    """Serve with a model that waits for `release` and takes one window at a time."""
    release = threading.Event()
    model = FakeModel()
    model.facts = replace(model.facts, threads=1)
    with serving(model, decode_batch=1) as live:
        live.model.before = lambda call: None if call.stage == "encode" else _wait(release)
        live.model.calls.clear()
        yield live, release
        release.set()


def _wait(event: threading.Event) -> None:
    assert event.wait(20)


def test_disconnecting_during_the_upload_ends_the_request(live):
    """The permit and the file are released, and the model is not called."""
    had = live.metric('asr_requests_total{code="499",endpoint="/transcribe"}')
    before = len(spooled())
    peer = send(live, tone(1), announced=10**6)
    until(lambda: live.admission.open_requests == 1, what="the request")
    peer.close()
    until(live.idle, what="the end of the request")
    assert live.metric('asr_requests_total{code="499",endpoint="/transcribe"}') == had + 1
    assert len(spooled()) == before
    assert not live.model.calls


@pytest.mark.parametrize("path", ["/format", "/v1/realtime/client_secrets"])
def test_disconnecting_during_the_body_is_no_failure_of_the_service(live, path):
    """At the endpoints that take JSON. There is no error in the log, and no 500 in the metrics."""
    sample = f'asr_requests_total{{code="499",endpoint="{path}"}}'
    had = live.metric(sample)
    with capture_logs() as lines, live.connect() as peer:
        head = f"POST {path}?response_format=srt HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        peer.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())
        peer.shutdown(socket.SHUT_RDWR)
        until(lambda: live.metric(sample) == had + 1, what="the end of the request")
    assert not [line for line in lines if line["log_level"] == "error"]


@pytest.mark.parametrize("query", ["", "&response_format=ndjson"])
def test_disconnecting_during_inference_ends_the_work(held, query):
    """A call of the model cannot be stopped: one window, or two if the priority thread took the first.

    None of the other eight windows is decoded.
    """
    live, release = held
    before = len(spooled())
    peer = send(live, tone(290, rate=8000), query="&language=en" + query)
    until(lambda: live.model.calls_of("generate"), what="the first window")
    peer.close()
    until(live.idle, what="the end of the request")
    n_encoded, n_generated = (len(live.model.calls_of(stage)) for stage in ("encode", "generate"))
    release.set()
    assert n_generated in {1, 2}
    assert live.post(language="en").status_code == 200
    assert len(live.model.calls_of("generate")) == n_generated + 1
    assert len(live.model.calls_of("encode")) == n_encoded + 1
    assert len(spooled()) == before


def test_disconnecting_while_queued_costs_no_inference(held):
    """A queued request is removed before the model is called for it."""
    live, release = held
    before = len(spooled())
    first = send(live, tone(1), query="&language=en")
    until(lambda: live.model.calls_of("generate"), what="the first request")
    queued = [send(live, tone(1), query="&language=en") for _ in range(5)]
    until(lambda: live.admission.open_requests == 6, what="the queue")
    for peer in queued:
        peer.close()
    until(lambda: live.admission.open_requests == 1, what="the end of the queued requests")
    release.set()
    assert read_answer(first)[0] == 200
    first.close()
    assert len(live.model.calls_of("generate")) == 1
    assert len(spooled()) == before


def test_disconnecting_during_a_stream_ends_the_work(held):
    """The client disconnects after the first line. None of the many later windows is decoded."""
    live, release = held
    before = len(spooled())
    live.model.before = lambda _: _wait(release) if len(live.model.calls_of("generate")) > 2 else None
    with send(live, tone(290, rate=8000), query="&language=en&response_format=ndjson") as peer:
        assert b'"type":"segment"' in _until_line(peer)
    until(live.idle, what="the end of the request")
    release.set()
    assert live.post(language="en").status_code == 200
    assert len(live.model.calls_of("generate")) <= 4
    assert len(spooled()) == before


def _until_line(peer: socket.socket) -> bytes:
    received = b""
    while b"segment" not in received:
        part = peer.recv(4096)
        assert part
        received += part
    return received
