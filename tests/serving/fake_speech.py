"""Uploads to the fake application: the query sets the time of each step, and each step is recorded.

`/speech?receive_s=1&decode_s=1&infer_s=1` records "receiving", "decoding", "inferring" and "done", or "left" if the
client has disconnected. `/stream` sends one line, and the last line when the file `go` (or `go.0`, for slot 0) exists.
If a file `full` exists, all requests are refused.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

REFUSAL = (
    b'{"error": {"message": "the wait would be 7 s", "type": "server_error", "param": null, "code": "overloaded"}}'
)


class Busy(Protocol):
    slot: Any
    n_open: int


@dataclass(frozen=True, slots=True)
class Note:
    """A step that a request has reached."""

    request: str
    """The request's X-Request-ID."""
    step: str
    slot: int
    pid: int


def notes(faults: Path) -> list[Note]:
    path = faults / "notes"
    return [Note(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


class FakeSpeech:
    def __init__(self, app: Busy, faults: Path) -> None:
        self._app = app
        self._faults = faults

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self._request = headers.get("x-request-id", "")
        if (self._faults / "full").exists():
            self._note("refused")
            await self._send(send, 503, REFUSAL, [(b"retry-after", b"7")])
            return
        self._app.n_open += 1
        try:
            if scope["path"] == "/stream":
                await self._stream(send)
            else:
                await self._speech(dict(parse_qsl(scope["query_string"].decode())), headers, receive, send)
        finally:
            self._app.n_open -= 1

    async def _speech(self, query: dict[str, str], headers: dict[str, str], receive: Any, send: Any) -> None:
        self._note("receiving")
        await asyncio.sleep(float(query.get("receive_s", "0")))
        n_bytes = await _received(receive)
        for step, lasts in (("decoding", "decode_s"), ("inferring", "infer_s")):
            self._note(step)
            if not await _stays(receive, float(query.get(lasts, "0"))):
                self._note("left")
                return
        self._note("done")
        told = {"slot": self._app.slot.index, "bytes": n_bytes, "headers": headers}
        await self._send(send, 200, json.dumps(told).encode(), [])

    async def _stream(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-accel-buffering", b"no")]})
        await send({"type": "http.response.body", "body": b"first\n", "more_body": True})
        self._note("streaming")
        go = [self._faults / name for name in ("go", f"go.{self._app.slot.index}")]
        while not any(path.exists() for path in go):  # noqa: ASYNC110  # it comes from another process
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"last\n"})

    async def _send(self, send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        named = [(b"content-type", b"application/json"), (b"x-request-id", self._request.encode()), *headers]
        await send({"type": "http.response.start", "status": status, "headers": named})
        await send({"type": "http.response.body", "body": body})

    def _note(self, step: str) -> None:
        """Append in one write, so that lines of two slots do not mix."""
        note = {"request": self._request, "step": step, "slot": self._app.slot.index, "pid": os.getpid()}
        with (self._faults / "notes").open("a") as file:
            file.write(json.dumps(note) + "\n")


async def _received(receive: Any) -> int:
    n_bytes, more = 0, True
    while more:
        message = await receive()
        n_bytes += len(message.get("body", b""))
        more = message.get("more_body", False)
    return n_bytes


async def _stays(receive: Any, seconds: float) -> bool:
    """Return whether the client stays connected for this time."""
    try:
        async with asyncio.timeout(seconds):
            await receive()
    except TimeoutError:
        return True
    return False
