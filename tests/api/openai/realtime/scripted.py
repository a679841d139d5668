"""A live session that does what a test says, in place of the engine's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.live import Live
from asr_service.audio import SAMPLE_RATE
from asr_service.engine.pipeline.live.events import (
    Cleared,
    EndReason,
    LiveEvent,
    SessionEnded,
    TextDelta,
    TurnCommitted,
    TurnCompleted,
)
from asr_service.engine.pipeline.live.options import LiveOptions
from asr_service.errors import RequestError
from asr_service.transcript import Segment, Timing, Transcript, Word
from waiting import until


def transcript(text: str = "hello there") -> Transcript:
    words = (Word(" hello", 0.25, 0.5, 0.5), Word(" there", 0.5, 1.0, 1.0))
    segment = Segment(0, 0.25, 1.0, f" {text}", (), -0.1, 0.0, 1.0, 0.0, "en", words)
    return Transcript(
        text=text,
        task="transcribe",
        language="en",
        language_probability=1.0,
        duration=1.25,
        duration_after_vad=0.75,
        model="fake",
        segments=(segment,),
        warnings=(),
        timing=Timing(0, 0, 0, 0, 0, 0),
    )


class EmptyBuffer(RequestError):
    code = "input_audio_buffer_commit_empty"


class ScriptedSession:
    """Commits one turn for each commit. `emit` adds an event, from any thread."""

    def __init__(self, options: LiveOptions, on_audio: Callable[[float], None]) -> None:
        self.options = [options]
        self._pieces: list[NDArray[np.float32]] = []
        self.finished: EndReason | None = None
        self.room = asyncio.Event()
        """`feed` waits for it."""
        self.room.set()
        self._on_audio = on_audio
        self._events: asyncio.Queue[LiveEvent] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._n_committed = 0
        self._n_samples = 0

    @property
    def fed(self) -> NDArray[np.float32]:
        """All samples so far."""
        return np.concatenate([np.empty(0, np.float32), *self._pieces])

    def emit(self, *events: LiveEvent) -> None:
        for event in events:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def configure(self, options: LiveOptions) -> None:
        self.options.append(options)

    async def feed(self, samples: NDArray[np.float32]) -> None:
        await self.room.wait()
        self._pieces.append(samples)
        self._n_samples += len(samples)
        self._on_audio(len(samples) / SAMPLE_RATE)

    async def commit(self) -> None:
        if self._n_samples < SAMPLE_RATE / 10:
            raise EmptyBuffer("The buffer has less than 100 ms of audio.")
        self._n_samples = 0
        self._n_committed += 1
        turn, before = str(self._n_committed), str(self._n_committed - 1) if self._n_committed > 1 else None
        self.emit(TurnCommitted(turn, before), TextDelta(turn, "hello"), TurnCompleted(turn, transcript(), 1.25))

    async def clear(self) -> None:
        self._n_samples = 0
        self.emit(Cleared())

    async def finish(self, reason: EndReason = EndReason.FINISHED) -> None:
        self.finished = reason
        if self._n_samples:
            await self.commit()
        self.emit(SessionEnded(reason))

    async def events(self) -> AsyncIterator[LiveEvent]:
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, SessionEnded):
                return


class Sessions:
    """The sessions that clients have opened. `refusal` is raised in place of another one."""

    def __init__(self) -> None:
        self.all: list[ScriptedSession] = []
        self.n_open = 0
        self.refusal: Exception | None = None

    @property
    def last(self) -> ScriptedSession:
        return self.all[-1]

    def wait_until_closed(self) -> None:
        until(lambda: self.n_open == 0, what="the end of the sessions")

    @asynccontextmanager
    async def open(
        self, options: LiveOptions, *, on_audio: Callable[[float], None], **_: Any
    ) -> AsyncIterator[ScriptedSession]:
        if self.refusal is not None:
            raise self.refusal
        session = ScriptedSession(options, on_audio)
        self.all.append(session)
        self.n_open += 1
        try:
            yield session
        finally:
            self.n_open -= 1


@contextmanager
def scripted_sessions(live: Live) -> Iterator[Sessions]:
    """Open scripted sessions in place of the engine's."""
    sessions, engine = Sessions(), live.app._engine
    engine.open_live = sessions.open  # type: ignore[method-assign, assignment]
    try:
        yield sessions
    finally:
        del engine.open_live
