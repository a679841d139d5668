"""Clients of live speech: what they have sent is replayed; `pytest -m clients` runs them, through Nginx with TLS."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from api.live import Live
from api.openai.clients.live_programs import LIVE_PROGRAMS, write_speech
from api.openai.clients.programs import RECORDED, Program
from asr_service.engine.pipeline.live import session as session_module
from asr_service.settings import load_settings
from nginx.proxy import Certificate, proxying

programs = pytest.mark.parametrize("program", LIVE_PROGRAMS, ids=lambda program: program.name)


def recording_of(program: Program) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads((RECORDED / f"{program.name}.json").read_text())
    return recording


def send(peer: socket.socket, recording: dict[str, Any]) -> bytes:
    """Send the request and, after its answer, the messages. Return what followed the answer."""
    peer.sendall(recording["head"].encode("latin-1") + b"\r\n\r\n")
    received = b""
    while b"\r\n\r\n" not in received:
        received += peer.recv(65_536)
    for message in recording["messages"]:
        peer.sendall(Frame(Opcode.TEXT, message.encode()).serialize(mask=True))
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return rest


def events_until(peer: socket.socket, received: bytes, kind: str) -> list[dict[str, Any]]:
    """Read events until one of this kind. `received` is the beginning of the first."""
    protocol = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN)
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != kind:
        protocol.receive_data(received or peer.recv(65_536))
        received = b""
        frames = [event for event in protocol.events_received() if isinstance(event, Frame)]
        assert not [frame for frame in frames if frame.opcode is Opcode.CLOSE], events
        events += [json.loads(bytes(frame.data)) for frame in frames if frame.opcode is Opcode.TEXT]
    return events


@programs
def test_a_recorded_session_is_served(live: Live, program: Program) -> None:
    """Every event is accepted, no field of the configuration is refused, and the turn has its text."""
    recording = recording_of(program)
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as peer:
        received = send(peer, recording)
        events = events_until(peer, received, "conversation.item.input_audio_transcription.completed")
    assert events[0]["type"] == "session.created"
    assert "session.updated" in {event["type"] for event in events}
    assert "error" not in {event["type"] for event in events}
    assert events[-1]["transcript"] == "hello"


@programs
def test_a_recording_names_its_program_and_holds_nothing_else(program: Program) -> None:
    """It has the versions of the packages, and no path or name of the machine that it was made on."""
    recording = recording_of(program)
    assert all(version[0].isdigit() for version in recording["program"].values())
    texts = [message for message in recording["messages"] if "input_audio_buffer.append" not in message]
    sent = json.dumps([recording["head"], texts])
    assert not any(trace in sent for trace in ("/tmp", "/home", "/root", socket.gethostname()))


@pytest.mark.clients
@pytest.mark.needs_program("nginx")
@programs
def test_a_real_program_gets_its_text_through_nginx(live: Live, tmp_path: Path, program: Program) -> None:
    """Over TLS, with the configuration that `asr-service render nginx` writes."""
    if missing := program.missing():
        pytest.fail(missing)
    audio, certificate = write_speech(tmp_path / "speech.wav"), Certificate(tmp_path / "tls")
    upstreams = (f"127.0.0.1:{live.port}",)
    trust = {"NODE_EXTRA_CA_CERTS": str(certificate.authority), "SSL_CERT_FILE": str(certificate.authority)}
    with proxying(tmp_path / "nginx", load_settings({}), certificate, upstreams=upstreams) as nginx:
        assert program.run(nginx.url, audio, **trust) == ["hello"]


@pytest.mark.clients
def test_livekit_connects_again_after_its_session_was_closed_for_silence(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A muted microphone sends nothing. An `error` event before the close would end its stream."""
    (livekit,) = [program for program in LIVE_PROGRAMS if program.name == "livekit-live"]
    if missing := livekit.missing():
        pytest.fail(missing)
    monkeypatch.setattr(session_module, "_MAX_SILENT_S", 1.0)
    closed = live.metric('asr_websockets_closed_total{code="1001"}')
    muted = replace(livekit, arguments=("2.5",))
    assert muted.run(live.url, write_speech(tmp_path / "speech.wav")) == ["hello"]
    assert live.metric('asr_websockets_closed_total{code="1001"}') > closed
