"""One live session: samples in, events out."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from asr_service import tasks
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.level import LiveLeveller
from asr_service.audio.silero import FRAME, SpeechStream
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.live.events import EndReason, LiveEvent, SessionEnded
from asr_service.engine.pipeline.live.finisher import Finisher, FinisherTools, NewSharedRequest
from asr_service.engine.pipeline.live.listener import MIN_COMMIT_MS, Listener, Reactions
from asr_service.engine.pipeline.live.load import Pace
from asr_service.engine.pipeline.live.options import LiveOptions
from asr_service.engine.pipeline.live.partial import PartialDecoder, PartialHypothesis
from asr_service.engine.pipeline.live.partial_sender import PartialSender
from asr_service.engine.pipeline.live.turn import ClosedWindow, Window
from asr_service.engine.schedule.batch import LiveWork
from asr_service.engine.schedule.request import RequestHandle
from asr_service.errors import AsrError, EmptyBuffer, EngineStopped
from asr_service.languages import CHINESE
from asr_service.transcript import Segment

log = structlog.get_logger(__name__)

_MAX_HELD_S: Final = 60.0
"""Sound that waits for voice activity detection or for its final text. With more, `feed` waits."""
_PIECE: Final = 16 * FRAME
"""Samples that go through voice activity detection at once: half a second."""
_MAX_WAITING_EVENTS: Final = 256
"""Maximum number of unread events. With more, `feed` waits."""
_KEPT_ARRIVALS: Final = 400
_MAX_SILENT_S: Final = 600.0
"""A session without audio for this time ends, whether its place is needed or not."""
_MAX_WAIT_OF_RECORDINGS_S: Final = 600.0

_Command = Callable[[], None]


@dataclass(frozen=True, slots=True)
class SessionTools:
    """What the sessions of a slot share."""

    finishing: FinisherTools
    partials: PartialDecoder
    new_request: NewSharedRequest
    cpu_pool: Executor
    """Runs voice activity detection."""


class LiveSession:
    """Transcribes speech while it is spoken. Belongs to one event loop.

    Read `events` in one task, and call the other methods from another. `LiveSessions.open` makes a session.
    """

    def __init__(self, tools: SessionTools, options: LiveOptions, on_audio: Callable[[float], None]) -> None:
        """Create a session; `run` does its work. `on_audio` is called with the seconds of audio, as they are fed."""
        self._on_audio = on_audio
        self._cpu_pool = tools.cpu_pool
        self._load = tools.finishing.load
        self._inbox: deque[NDArray[np.float32] | _Command] = deque()
        self._has_input = asyncio.Event()
        self._has_room = asyncio.Event()
        self._events: asyncio.Queue[LiveEvent] = asyncio.Queue()
        self._n_waiting = 0
        """Samples that wait for voice activity detection, or in closed windows for their text."""
        self._n_fed = 0
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=_KEPT_ARRIVALS)
        """Positions up to which there was sound, and when."""
        self._opened_at = time.monotonic()
        self._pace = Pace()
        self._new_shared_request = tools.new_request
        self._end_reason: EndReason | None = None
        self._commits: set[asyncio.Future[bool]] = set()
        """Those that wait until the sound before them was taken."""
        self._is_speaking = False
        self._level = LiveLeveller()
        self._stream = SpeechStream()
        self._finisher = Finisher(
            tools.finishing, self._new_request, self._events.put_nowait, self._spoken_at, self._on_decoded
        )
        self._listener = Listener(
            options,
            Reactions(
                event=self._events.put_nowait,
                paused=self._finisher.begin_early,
                resumed=Finisher.cancel_early,
                closed=self._on_closed,
                discarded=self._on_discarded,
            ),
        )
        self._partial_sender = PartialSender(
            tools.partials,
            self._load,
            self._listener,
            self._new_request,
            self._events.put_nowait,
            self._in_script,
            self._pace,
            latest_language=lambda: self._finisher.language[0] if self._finisher.language else None,
        )

    # -- for the caller

    async def configure(self, options: LiveOptions) -> None:
        """Change the options for the audio that is fed from here on. An open turn keeps its decoding options."""
        self._put(lambda: self._listener.configure(options))

    async def feed(self, samples: NDArray[np.float32]) -> None:
        """Add audio: float32 [n], 16 kHz mono. Returns when the session has room for more."""
        for start in range(0, len(samples), _PIECE):
            await self._wait_for_room()
            if self._end_reason is not None:
                return
            part = samples[start : start + _PIECE]
            self._n_fed += len(part)
            self._n_waiting += len(part)
            self._arrivals.append((self._n_fed, time.monotonic()))
            self._pace.note_audio(len(part) / SAMPLE_RATE)
            self._on_audio(len(part) / SAMPLE_RATE)
            self._put(part)

    async def commit(self) -> None:
        """End the turn with the audio fed so far. Returns when its events are queued, up to TurnCommitted.

        Raises EmptyBuffer: less than 100 ms of audio were fed since the last commit.
        """
        if self._end_reason is not None:
            return
        committed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._commits.add(committed)
        committed.add_done_callback(self._commits.discard)
        self._put(lambda: None if committed.done() else committed.set_result(self._listener.commit()))
        if not await committed:
            raise EmptyBuffer(
                f"The audio buffer has less than {MIN_COMMIT_MS} ms of audio, so there is nothing to commit."
            )

    async def clear(self) -> None:
        """Discard the audio that is not committed. Returns when the session has room for more."""
        await self._wait_for_room()
        if self._end_reason is None:
            self._put(self._listener.clear)

    @property
    def silent_s(self) -> float:
        """Seconds since the latest audio, or since the session was opened. 0 while audio waits for the model."""
        if self._n_waiting:
            return 0.0
        return time.monotonic() - (self._arrivals[-1][1] if self._arrivals else self._opened_at)

    async def finish(self) -> None:
        """End an open turn. The events go on until all turns are completed, and end with SessionEnded."""
        self.begin_to_finish(EndReason.FINISHED)

    def begin_to_finish(self, reason: EndReason) -> None:
        """Do what `finish` does. After this call, audio is ignored, and so are `commit` and `clear`."""
        if self._end_reason is None:
            self._put(self._finish)
            self._end_reason = reason
            self._has_room.set()

    async def events(self) -> AsyncGenerator[LiveEvent]:
        """Yield the events. The last one is SessionEnded."""
        while True:
            event = await self._events.get()
            self._has_room.set()
            yield event
            if isinstance(event, SessionEnded):
                return

    # -- the work

    async def run(self) -> None:
        """Do the work of the session until it is finished or cancelled."""
        listening = asyncio.create_task(self._listen())
        sending = asyncio.create_task(self._partial_sender.run())
        finishing = asyncio.create_task(self._finisher.run())
        watching = asyncio.create_task(self._end_if_silent())
        error: AsrError | None = None
        try:
            await asyncio.wait([finishing, sending, listening], return_when=asyncio.FIRST_COMPLETED)
            for task in (finishing, sending, listening):
                if task.done():
                    task.result()
            await finishing
        except EngineStopped as stopped:
            error = stopped
        except Exception:
            log.exception("a live session failed")
            error = AsrError("The live session failed because of an error in the service.")
        finally:
            await tasks.cancel([listening, sending, finishing, watching])
            await self._finisher.close()
            self._note_speaking(is_speaking=False)
        reason = self._end_reason if error is None and self._end_reason is not None else EndReason.FAILED
        self._end_reason = reason
        self._has_room.set()
        for committed in list(self._commits):
            committed.set_result(True)
        self._events.put_nowait(SessionEnded(reason, error))
        log.info(
            "live session ended",
            reason=reason,
            audio_s=round(self._n_fed / SAMPLE_RATE, 1),
            turns=self._finisher.n_turns,
            deltas=self._partial_sender.n_sent,
        )

    async def _end_if_silent(self) -> None:
        while (left_s := _MAX_SILENT_S - self.silent_s) > 0:  # noqa: ASYNC110 - audio only moves the end
            await asyncio.sleep(left_s)
        self.begin_to_finish(EndReason.SILENT)

    async def _listen(self) -> None:
        """Take what was fed and asked for, in order."""
        loop = asyncio.get_running_loop()
        while True:
            await self._has_input.wait()
            self._has_input.clear()
            while self._inbox:
                if not isinstance(self._inbox[0], np.ndarray):
                    command = self._inbox.popleft()
                    assert not isinstance(command, np.ndarray)  # noqa: S101 - checked above
                    command()
                    continue
                samples = self._next_sound()
                probabilities = await loop.run_in_executor(self._cpu_pool, self._detect, samples)
                self._listener.push(samples, probabilities.tolist())
                self._note_speaking(is_speaking=self._listener.window is not None)
                self._note_waiting(-len(samples))
                self._partial_sender.note_sound()

    def _detect(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of speech for each frame that is complete now."""
        return self._stream(self._level(samples))

    def _next_sound(self) -> NDArray[np.float32]:
        """Take the sound that waits, up to the next command."""
        parts: list[NDArray[np.float32]] = []
        while self._inbox and sum(map(len, parts)) < _PIECE:
            part = self._inbox[0]
            if not isinstance(part, np.ndarray):
                break
            parts.append(part)
            self._inbox.popleft()
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _put(self, item: NDArray[np.float32] | _Command) -> None:
        self._inbox.append(item)
        self._has_input.set()

    async def _wait_for_room(self) -> None:
        while self._end_reason is None and (
            self._n_waiting > _MAX_HELD_S * SAMPLE_RATE or self._events.qsize() > _MAX_WAITING_EVENTS
        ):
            self._has_room.clear()
            await self._has_room.wait()

    def _finish(self) -> None:
        self._listener.finish()
        self._finisher.end()

    def _on_closed(self, closing: ClosedWindow) -> None:
        self._partial_sender.stop(closing.window)
        self._pace.note_window(closing.n_samples / SAMPLE_RATE)
        self._note_waiting(closing.n_samples)
        self._finisher.add(closing)

    def _on_discarded(self, window: Window) -> None:
        self._partial_sender.stop(window)
        Finisher.cancel_early(window)

    def _on_decoded(self, closing: ClosedWindow) -> None:
        self._note_waiting(-closing.n_samples)

    def _new_request(self, decoding: DecodingOptions, live: LiveWork, max_wait_s: float) -> RequestHandle:
        """Return a window's handle on the scheduler. A session that is not live waits like a recording."""
        if self._pace.is_live:
            return self._new_shared_request(decoding, live, max_wait_s)
        return self._new_shared_request(decoding, None, _MAX_WAIT_OF_RECORDINGS_S)

    def _note_waiting(self, n_samples: int) -> None:
        self._n_waiting += n_samples
        self._has_room.set()

    def _note_speaking(self, *, is_speaking: bool) -> None:
        self._load.n_speaking += is_speaking - self._is_speaking
        self._is_speaking = is_speaking

    def _spoken_at(self, position: int) -> float:
        """Return when the sound at a position was fed, in monotonic seconds."""
        for end, at in self._arrivals:
            if end >= position:
                return at
        return time.monotonic()

    def _in_script(self, window: Window, partial: PartialHypothesis) -> str:
        options = window.turn.options.decoding
        if partial.language not in CHINESE:
            return partial.text
        segment = Segment(0, 0.0, 0.0, partial.text, (), 0.0, 0.0, 0.0, 0.0, partial.language)
        return self._finisher.script_of(options).convert([segment])[0].text
