"""One session over its WebSocket: reads the client's events, and sends those of the engine."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr_service import metrics, tasks
from asr_service.access.keys import Key
from asr_service.access.usage import KeyUsage
from asr_service.api.openai.realtime.audio_buffer import AudioBuffer
from asr_service.api.openai.realtime.client_events import event_id_of, parse_json, read_event
from asr_service.api.openai.realtime.configuration import Configuration
from asr_service.api.openai.realtime.schemas import Append, Clear, ClientEvent, Commit, SessionUpdate
from asr_service.api.openai.realtime.server_events import ServerEvent, error_event, events_of, server_event
from asr_service.audio import SAMPLE_RATE
from asr_service.engine.pipeline.live.events import EndReason, LiveEvent, SessionEnded, TurnCompleted
from asr_service.engine.pipeline.live.session import LiveSession
from asr_service.engine.slot import SlotEngine
from asr_service.errors import AsrError, AudioLimit, RequestError, SessionExpired, Unavailable

log = structlog.get_logger(__name__)

_SEND_TIMEOUT_S: Final = 30.0
"""A client that does not read for this time is dropped. Its unread events take at most 64 KiB here."""
_CHECK_AUDIO_S: Final = 10.0
"""Seconds of audio after which the audio limit of the key is checked again."""


@dataclass(frozen=True, slots=True)
class _Close:
    """How a WebSocket is closed, in the terms of RFC 6455."""

    code: int
    reason: str


_DRAINING: Final = _Close(1001, "The service is restarting. Connect again.")
_EXPIRED: Final = _Close(1001, "The session has reached its maximum duration. Connect again.")
_SILENT: Final = _Close(1001, "The session had no audio for more than a minute. Connect again.")
_LIMITED: Final = _Close(1008, "The audio limit of the API key is reached.")
_FAILED: Final = _Close(1011, "The engine failed.")
_OVERLOADED: Final = _Close(1013, "The service is overloaded. Try again later.")
_YIELDED: Final = _Close(1013, "Another caller needs the place, and you have several. Try again later.")
_CLOSED_AS: Final = {EndReason.DRAINING: _DRAINING, EndReason.SILENT: _SILENT, EndReason.YIELDED: _YIELDED}
"""No `error` event comes before these: LiveKit's client would end its stream, where it connects again after a close."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    key: Key | None
    """The API key whose audio limit holds."""
    usage: KeyUsage
    max_session_s: float


class RealtimeConnection:
    """Serves one session on an accepted WebSocket, until either side ends it."""

    def __init__(
        self,
        websocket: WebSocket,
        live: LiveSession,
        configuration: Configuration,
        engine: SlotEngine,
        limits: SessionLimits,
    ) -> None:
        self._websocket = websocket
        self._live = live
        self._configuration = configuration
        self._engine = engine
        self._limits = limits
        self._audio = AudioBuffer(configuration.session.audio.input.format)
        self._identity = session_identity(time.time() + limits.max_session_s)
        self._close = _EXPIRED
        """How the session is closed if it ends before its client leaves."""
        self._unchecked_s = 0.0

    async def run(self) -> None:
        """Serve the session and close the WebSocket. An open turn is completed, unless the client has left."""
        try:
            await self._send(self._session_event("session.created"))
            if await self._serve():
                await self._websocket.close(self._close.code, self._close.reason)
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            log.info("websocket dropped: its client reads nothing", after_s=_SEND_TIMEOUT_S)
        except Exception:
            log.exception("unexpected error")
            await self._websocket.close(_FAILED.code, _FAILED.reason)

    async def _serve(self) -> bool:
        """Return whether the engine ended the session before the client left."""
        reading, forwarding = asyncio.create_task(self._read()), asyncio.create_task(self._forward())
        try:
            done, _ = await asyncio.wait({reading, forwarding}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return not reading.done()
        finally:
            await tasks.cancel([reading, forwarding])

    # -- from the client

    async def _read(self) -> None:
        """Handle the client's events until it leaves. After the end of the session they are ignored."""
        error: AsrError
        try:
            async with asyncio.timeout(self._limits.max_session_s) as session:
                async for text in self._messages():
                    await self._handle(text)
                return
        except AudioLimit as limit:
            error, self._close = limit, _LIMITED
        except TimeoutError:
            if not session.expired():
                raise
            error = SessionExpired(
                f"The session has reached its maximum of {self._limits.max_session_s / 60:g} minutes."
            )
        await self._send(error_event(error))
        await self._live.finish()
        async for _ in self._messages():
            pass

    async def _messages(self) -> AsyncIterator[str | None]:
        """Yield the text of each message until the client leaves; None for a binary message."""
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            yield message.get("text")
            await asyncio.sleep(0)  # thousands of messages may be there, and reading them waits for nothing

    async def _handle(self, text: str | None) -> None:
        event_id = None
        try:
            fields = parse_json(text)
            event_id = event_id_of(fields)
            await self._react(read_event(fields))
        except AudioLimit:
            raise
        except RequestError as error:
            metrics.FAILURES.labels(error.code).inc()
            await self._send(error_event(error, event_id=event_id))

    async def _react(self, event: ClientEvent) -> None:
        match event:
            case Append():
                await self._append(event.audio)
            case SessionUpdate():
                await self._update(event.session)
            case Commit():
                await self._live.commit()
                self._audio.end_part()
            case Clear():
                await self._live.clear()
                self._audio.end_part()

    async def _append(self, audio: str) -> None:
        async for samples in self._audio.samples(audio):
            await self._live.feed(samples)
            self._unchecked_s += len(samples) / SAMPLE_RATE
            if self._unchecked_s >= _CHECK_AUDIO_S:
                self._unchecked_s = 0.0
                await self._limits.usage.check_audio(self._limits.key)

    async def _update(self, update: dict[str, Any]) -> None:
        configuration = self._configuration.updated(update)
        await self._live.configure(configuration.live_options(self._engine.settings, self._engine.loaded_model))
        self._configuration = configuration
        audio_format = configuration.session.audio.input.format
        if audio_format != self._audio.audio_format:
            self._audio = AudioBuffer(audio_format)
        await self._send(self._session_event("session.updated"))

    # -- to the client

    async def _forward(self) -> None:
        """Send the engine's events until it ends the session."""
        async for event in self._live.events():
            if isinstance(event, SessionEnded):
                await self._note_end(event)
                return
            self._log_if_enabled(event)
            for each in events_of(event, self._configuration.session.include):
                await self._send(each)

    async def _note_end(self, ended: SessionEnded) -> None:
        self._close = _CLOSED_AS.get(ended.reason, self._close)
        if ended.reason is EndReason.FAILED:
            self._close = _OVERLOADED if isinstance(ended.error, Unavailable) else _FAILED
            if ended.error is not None:
                metrics.FAILURES.labels(ended.error.code).inc()
                await self._send(error_event(ended.error))

    def _log_if_enabled(self, event: LiveEvent) -> None:
        if isinstance(event, TurnCompleted) and self._engine.settings.log_transcripts:
            transcript = event.transcript
            log.info("transcript", text=transcript.text, language=transcript.language, duration=event.audio_s)

    async def _send(self, event: ServerEvent) -> None:
        """Send an event. Raises TimeoutError: the client reads nothing. Raises WebSocketDisconnect: it has left."""
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await self._websocket.send_text(json.dumps(event, ensure_ascii=False))

    def _session_event(self, kind: str) -> ServerEvent:
        return server_event(kind, session=self._identity | self._configuration.to_json(self._engine.loaded_model))


def session_identity(expires_at_s: float) -> dict[str, Any]:
    """Return the fields of a new session that a client cannot set. The time is in seconds since 1970."""
    return {
        "id": f"sess_{secrets.token_urlsafe(16)}",
        "object": "realtime.transcription_session",
        "expires_at": int(expires_at_s),
    }
