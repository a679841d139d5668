"""A client that leaves costs nothing more: nothing is inferred, and nothing is held."""

import contextlib
import socket
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

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
    """Deleted files that this process still holds open: what uploads are kept in."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(descriptor.readlink()))
    return [link for link in links if link.startswith(tempfile.gettempdir()) and link.endswith("(deleted)")]


@pytest.fixture
def held():
    """A server whose model waits for `release`, one window at a time."""
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


def test_leaving_while_uploading_is_noticed(live):
    """The permit and the spooled part are let go, and the model hears nothing of it."""
    had = live.metric('asr_requests_total{code="499",endpoint="/transcribe"}')
    before = len(spooled())
    peer = send(live, tone(1), announced=10**6)
    until(lambda: live.admission.open_requests == 1, what="the request")
    peer.close()
    until(live.idle, what="the end of the request")
    assert live.metric('asr_requests_total{code="499",endpoint="/transcribe"}') == had + 1
    assert len(spooled()) == before
    assert not live.model.calls


@pytest.mark.parametrize("query", ["", "&response_format=ndjson"])
def test_leaving_while_the_model_works_ends_the_work(held, query):
    """What is in the model is finished, since it cannot be stopped: a window, and one beside it where the thread for
    first words has taken the first. Of the other eight none is decoded.
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


def test_leaving_while_queued_costs_nothing(held):
    """A request that waits behind another is dropped before the model sees it."""
    live, release = held
    before = len(spooled())
    first = send(live, tone(1), query="&language=en")
    until(lambda: live.model.calls_of("generate"), what="the first request")
    queued = [send(live, tone(1), query="&language=en") for _ in range(5)]
    until(lambda: live.admission.open_requests == 6, what="the queue")
    for peer in queued:
        peer.close()
    until(lambda: live.admission.open_requests == 1, what="the end of those who left")
    release.set()
    assert read_answer(first)[0] == 200
    first.close()
    assert len(live.model.calls_of("generate")) == 1
    assert len(spooled()) == before


def test_leaving_in_the_middle_of_a_stream_ends_the_work(held):
    """After the first line the client goes; of the many windows that follow, none is decoded any more."""
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
