"""A client of the Realtime API that shows every event."""

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.live import Live

Event = dict[str, Any]
SECOND = base64.b64encode(bytes(48_000)).decode()
"""A second of silence in the default format."""


class RealtimeClient:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[Event] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def append(self, audio: str = SECOND, **fields: Any) -> None:
        self.send("input_audio_buffer.append", audio=audio, **fields)

    def commit(self, **fields: Any) -> None:
        self.send("input_audio_buffer.commit", **fields)

    def update(self, *, event_id: str | None = None, include: list[str] | None = None, **audio_input: Any) -> Event:
        """Send session.update with these fields of `audio.input`. Return the event that answers it."""
        session = {"type": "transcription", "audio": {"input": audio_input}}
        session |= {} if include is None else {"include": include}
        self.send("session.update", session=session, event_id=event_id)
        return self.until("session.updated", "error")

    def next(self) -> Event:
        event: Event = json.loads(self.socket.recv(timeout=60))
        self.received.append(event)
        return event

    def until(self, *kinds: str) -> Event:
        """Read events until one of these kinds."""
        while (event := self.next())["type"] not in kinds:
            pass
        return event

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.received]


def raw_connection(live: Live) -> socket.socket:
    """Open a WebSocket of which only the socket remains: nothing is read, and `raw_event` writes."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", live.port))
    peer.sendall(
        b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    peer.settimeout(0.3)
    return peer


def raw_event(kind: str, **fields: Any) -> bytes:
    """Return an event as a WebSocket's frame."""
    return Frame(Opcode.TEXT, json.dumps({"type": kind, **fields}).encode()).serialize(mask=True)


@contextmanager
def realtime(
    url: str,
    query: str = "?intent=transcription",
    *,
    key: str | None = None,
    protocols: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Iterator[RealtimeClient]:
    """Connect, and read session.created."""
    given = dict(headers or {}) | ({} if key is None else {"authorization": f"Bearer {key}"})
    address = url.replace("http", "ws", 1) + "/v1/realtime" + query
    offered = [Subprotocol(each) for each in protocols] or None
    more = {"open_timeout": 60} | more
    with connect(address, additional_headers=given, subprotocols=offered, proxy=None, **more) as connection:
        client = RealtimeClient(connection)
        assert client.next()["type"] == "session.created"
        yield client
