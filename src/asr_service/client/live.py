"""Live speech with a service: samples in as they are spoken, text out. Speaks the Realtime protocol."""

import base64
import json
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from asr_service.client.connection import trusting
from asr_service.client.errors import ApiKeyRejected, RecordingRefused, ServerUnusable

_RATE: Final = 16_000
_FULL_SCALE: Final = 32_767
_PATH: Final = "/v1/realtime?intent=transcription"
_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"
_EMPTY: Final = "input_audio_buffer_commit_empty"
_CLEARED: Final = "input_audio_buffer.cleared"


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """A turn has begun. It comes in the order in which the turns were spoken; a turn may have it twice."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class PartialText:
    """More text of a turn that has not ended, or whose final text is not known yet.

    It may come before text of the turn that was spoken before.
    """

    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class FinalText:
    """The whole text of a turn, in place of its partial text. It comes in the order in which the turns were spoken."""

    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class FailedText:
    """A turn has no final text. The session goes on."""

    turn_id: str
    message: str
    """Why, for people."""


LiveText = TurnBegan | PartialText | FinalText | FailedText


class LiveClient:
    """One session. Feed it from one task, and read its texts in another."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._committed_turns: set[str] = set()
        """Those that wait for their final text."""
        self._is_cleared = False

    async def configure(self, transcription: dict[str, object]) -> None:
        """Set `audio.input.transcription`: language, prompt, keywords. Samples are sent with 16 kHz from here on."""
        audio_input = {"format": {"type": "audio/pcm", "rate": _RATE}, "transcription": transcription}
        await self._send("session.update", session={"type": "transcription", "audio": {"input": audio_input}})

    async def feed(self, samples: NDArray[np.float32]) -> None:
        """Send samples: float32 [n], 16 kHz mono, from -1 to 1."""
        pcm = (np.clip(samples, -1, 1) * _FULL_SCALE).astype("<i2").tobytes()
        await self._send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    async def finish(self) -> None:
        """End the last turn. `texts` ends when its text is known."""
        await self._send("input_audio_buffer.commit")
        # The service may have committed a turn by itself just before. Only the answer to this shows that it has read
        # the commit above. Nothing is left to clear.
        await self._send("input_audio_buffer.clear")

    async def texts(self) -> AsyncIterator[LiveText]:
        """Yield the texts until the session is finished.

        Raises RecordingRefused: the service sent an error. Raises ServerUnusable: it closed the connection.
        """
        try:
            while not self._is_done():
                for text in self._read(json.loads(await self._connection.recv())):
                    yield text
        except ConnectionClosed as error:
            reason = error.rcvd.reason if error.rcvd is not None and error.rcvd.reason else "the connection was lost"
            raise ServerUnusable(f"The service ended the session: {reason.rstrip('.')}.") from error

    def _is_done(self) -> bool:
        return self._is_cleared and not self._committed_turns

    def _read(self, event: dict[str, Any]) -> Sequence[LiveText]:
        turn_id = str(event.get("item_id"))
        match event["type"]:
            case "input_audio_buffer.speech_started":  # it may be cleared, and is not waited for
                return [TurnBegan(turn_id)]
            case "input_audio_buffer.committed":
                self._committed_turns.add(turn_id)
                return [TurnBegan(turn_id)]
            case kind if kind == f"{_TRANSCRIPTION}.delta":
                return [PartialText(turn_id, event["delta"])]
            case kind if kind == f"{_TRANSCRIPTION}.completed":
                self._committed_turns.discard(turn_id)
                return [FinalText(turn_id, event["transcript"])]
            case kind if kind == f"{_TRANSCRIPTION}.failed":
                self._committed_turns.discard(turn_id)
                return [FailedText(turn_id, event["error"]["message"])]
            case kind if kind == _CLEARED:
                self._is_cleared = True
            case "error" if event["error"]["code"] == _EMPTY:
                pass
            case "error":
                raise RecordingRefused(event["error"]["message"])
        return []

    async def _send(self, kind: str, **fields: object) -> None:
        with suppress(ConnectionClosed):  # `texts` reports it
            await self._connection.send(json.dumps({"type": kind, **fields}))


@asynccontextmanager
async def connect_live(server: str, api_key: str | None, ca_file: Path | None = None) -> AsyncIterator[LiveClient]:
    """Open a session. Raises ServerUnusable, ApiKeyRejected: the service is unreachable, or refuses it."""
    url = "ws" + server.rstrip("/")[len("http") :] + _PATH
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    context: ssl.SSLContext | None = None if ca_file is None else trusting(ca_file)
    try:
        opening = connect(url, additional_headers=headers, ssl=context, compression=None)
        connection = await opening.__aenter__()
    except InvalidStatus as error:
        raise _refusal(server, error) from error
    except (OSError, WebSocketException) as error:
        errno = getattr(error, "errno", None)  # asyncio puts the address in place of the system's text
        reason = os.strerror(errno) if isinstance(errno, int) and errno > 0 else str(error)
        raise ServerUnusable(
            f"{server} cannot be reached: {reason.rstrip('.')}. Check the address, and that the service runs."
        ) from error
    try:
        yield LiveClient(connection)
    finally:
        await connection.close()


def _refusal(server: str, error: InvalidStatus) -> ServerUnusable:
    status = error.response.status_code
    try:
        message = str(json.loads(error.response.body or b"")["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"{server} answered {status}, and is not this service, or a version without live speech."
    return ApiKeyRejected(message) if status == HTTPStatus.UNAUTHORIZED else ServerUnusable(message)
