"""Decodes the windows of one session whose sound is complete, in order, with the full rules of a recording."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from asr_service import metrics, tasks, tracing
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import Chunk
from asr_service.engine.decode.text_before import TextBefore
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.leading_space import with_leading_space
from asr_service.engine.pipeline.live.agreement import n_taken_back, rest_after
from asr_service.engine.pipeline.live.events import LiveEvent, TurnCompleted, TurnFailed
from asr_service.engine.pipeline.live.load import LiveLoad
from asr_service.engine.pipeline.live.turn import MIN_DETECTION_S, ClosedWindow, DecodedWindow, EarlyText, Turn, Window
from asr_service.engine.pipeline.script import ScriptConverter
from asr_service.engine.pipeline.window_memory import MemoryShare, WindowMemory
from asr_service.engine.schedule.batch import LiveWork
from asr_service.engine.schedule.request import RequestHandle
from asr_service.errors import AsrError, EngineStopped
from asr_service.languages import LANGUAGES, written_language
from asr_service.transcript import Segment, Timing, Transcript

MAX_ATTEMPTS: Final = 2
"""For one window: the first, and one with a longer context. Somebody waits for the text, and further attempts take
seconds: with four, the 99th percentile of the delay was 1.9 instead of 1.2 s, with the same errors."""
_MAX_WAIT_S: Final = 30.0
"""A final text that is not known so long after the end of its turn fails. So the delay of a session is limited."""

NewRequest = Callable[[DecodingOptions, LiveWork, float], RequestHandle]
"""Returns a window's handle on the scheduler, for its options, its urgency and the seconds until its deadline."""
NewSharedRequest = Callable[[DecodingOptions, LiveWork | None, float], RequestHandle]
"""The same of a slot; None for a window that is no more urgent than those of recordings."""


@dataclass(frozen=True, slots=True)
class FinisherTools:
    """What the finishers of all sessions share."""

    windows: WindowDecoder
    memory: WindowMemory
    load: LiveLoad
    model_name: str


class Finisher:
    """Decodes the closed windows of one session, one after another, and reports the texts of the turns."""

    def __init__(
        self,
        tools: FinisherTools,
        new_request: NewRequest,
        on_event: Callable[[LiveEvent], None],
        spoken_at: Callable[[int], float],
        on_done: Callable[[ClosedWindow], None],
    ) -> None:
        """Create a finisher.

        `spoken_at` returns when the sound of a position was received (monotonic seconds). `on_done` is called when a
        closed window needs no more memory.
        """
        self._tools = tools
        self._new_request = new_request
        self._on_event = on_event
        self._spoken_at = spoken_at
        self._on_done = on_done
        self._closed: asyncio.Queue[tuple[ClosedWindow, float] | None] = asyncio.Queue()
        """The windows, and when each was closed."""
        self._early: set[asyncio.Task[DecodedWindow]] = set()
        self._script_options = DecodingOptions()
        self._script = ScriptConverter(self._script_options)
        self.n_turns = 0
        self.language: tuple[str, float] | None = None
        """Code and probability of the latest turn with text."""

    def begin_early(self, window: Window, closing: ClosedWindow) -> None:
        """Decode an open window in a pause of its speech, in case that it does not go on."""
        self.cancel_early(window)
        if closing.chunk is not None and self._tools.load.allows_early:
            task = asyncio.create_task(self._decode(closing, closing.chunk))
            window.early = EarlyText(task, closing.speech_end)
            self._early.add(task)
            task.add_done_callback(self._early.discard)

    @staticmethod
    def cancel_early(window: Window) -> None:
        """Stop decoding early: the speech goes on."""
        if window.early is not None:
            window.early.task.cancel()
            window.early = None

    def add(self, closing: ClosedWindow) -> None:
        """Decode a window that is complete."""
        self._closed.put_nowait((closing, time.monotonic()))

    def end(self) -> None:
        """End when all windows so far are decoded."""
        self._closed.put_nowait(None)

    async def run(self) -> None:
        """Decode until `end`. Raises EngineStopped: the engine takes no more work."""
        while (next_one := await self._closed.get()) is not None:
            closing, closed_at = next_one
            turn = closing.window.turn
            try:
                if turn.error is None:
                    await self._finish(closing, closed_at)
            except EngineStopped:
                raise
            except AsrError as error:
                turn.error = error
            finally:
                if closing.is_last and turn.error is not None:
                    metrics.LIVE_TURNS.labels("failed").inc()
                    self._on_event(TurnFailed(turn.id, turn.error))
                if not closing.window.tokens.done():
                    closing.window.tokens.set_result(TextBefore())
                self._on_done(closing)

    async def close(self) -> None:
        """Stop everything that is decoded early."""
        await tasks.cancel(self._early)

    def script_of(self, options: DecodingOptions) -> ScriptConverter:
        """Return the converter of the session's Chinese text."""
        if self._script_options != options:
            self._script, self._script_options = ScriptConverter(options), options
        return self._script

    async def _finish(self, closing: ClosedWindow, closed_at: float) -> None:
        window, turn = closing.window, closing.window.turn
        with tracing.span("live window", {"asr.window.begin_s": window.start / SAMPLE_RATE}):
            final = await self._final(closing)
        turn.language = turn.language or final.language
        if final.segments:
            self.language = turn.language
        self._add_segments(turn, final)
        window.tokens.set_result(TextBefore().followed_by(final.segments))
        if closing.chunk is not None:
            turn.speech_s += closing.chunk.duration_s
        ready_at = time.monotonic()
        if final.was_urgent:
            self._tools.load.note_final(final.inference_s, closing.n_samples / SAMPLE_RATE, ready_at - closed_at)
        if not closing.is_last:
            self._send_rest(window, final.segments)
            return
        self._complete(closing, final)
        if final.was_urgent:
            metrics.LIVE_FINAL_DELAY.observe(ready_at - self._spoken_at(closing.speech_end))

    def _add_segments(self, turn: Turn, final: DecodedWindow) -> None:
        task = turn.options.decoding.task
        for segment in self.script_of(turn.options.decoding).convert(final.segments):
            turn.segments.append(replace(with_leading_space(segment, task), id=len(turn.segments)))

    async def _final(self, closing: ClosedWindow) -> DecodedWindow:
        """Return the text that was decoded early if no speech followed it, or else decode the window now."""
        early, closing.window.early = closing.window.early, None
        if closing.chunk is None:
            await tasks.cancel([early.task] if early else [])
            return DecodedWindow((), closing.window.turn.language, 0.0, 0.0)
        if early is not None and early.speech_end == closing.speech_end:
            try:
                return await early.task
            except AsrError:
                pass  # the window is decoded once more
        elif early is not None:
            early.task.cancel()
        return await self._decode(closing, closing.chunk)

    async def _decode(self, closing: ClosedWindow, chunk: Chunk) -> DecodedWindow:
        window, turn = closing.window, closing.window.turn
        request = self._new_request(turn.options.decoding, LiveWork.FINAL, _MAX_WAIT_S)
        if turn.language is not None:
            request.set_language(*turn.language)
        elif self.language is not None and chunk.duration_s < MIN_DETECTION_S:
            request.set_language(*self.language)
        segments: list[Segment] = []
        try:
            async with self._tools.memory.window(MemoryShare()):
                task = await self._tools.windows.prepare(
                    request,
                    chunk,
                    is_first_window=True,
                    text_before=window.previous.tokens if window.previous else TextBefore(),
                )
                async with aclosing(self._tools.windows.decode(task)) as decoding:
                    async for known in decoding:
                        segments += known
        finally:
            request.scheduler.cancel_request(request.request_id)
        is_urgent = request.live is not None
        return DecodedWindow(tuple(segments), request.known_language, request.queued_s, request.inference_s, is_urgent)

    def _send_rest(self, window: Window, segments: tuple[Segment, ...]) -> None:
        """Send the text of a window that was not sent yet, if the final text begins with the sent words."""
        options = window.turn.options.decoding
        language = written_language(segments[0].language if segments else "", options.task)
        final, sent = "".join(segment.text for segment in segments), window.sent.words
        metrics.LIVE_WORDS.labels("sent").inc(len(sent))
        metrics.LIVE_WORDS.labels("taken_back").inc(n_taken_back(sent, final, language))
        rest = rest_after(sent, final, language)
        if rest:
            self._on_event(window.turn.next_delta(rest))

    def _complete(self, closing: ClosedWindow, final: DecodedWindow) -> None:
        turn = closing.window.turn
        self._send_rest(closing.window, final.segments)
        audio_s = (closing.end - turn.start) / SAMPLE_RATE
        self.n_turns += 1
        metrics.LIVE_TURNS.labels("completed").inc()
        metrics.AUDIO_SECONDS.inc(audio_s)
        self._on_event(TurnCompleted(turn.id, self._transcript(turn, final, audio_s), audio_s))

    def _transcript(self, turn: Turn, final: DecodedWindow, audio_s: float) -> Transcript:
        language, probability = turn.language or (None, None)
        return Transcript(
            text="".join(segment.text for segment in turn.segments).strip(),
            task=turn.options.decoding.task,
            language=language,
            language_probability=probability,
            duration=audio_s,
            duration_after_vad=turn.speech_s,
            model=self._tools.model_name,
            segments=tuple(turn.segments),
            warnings=(),
            timing=Timing(
                queue_ms=final.queued_s * 1000,
                decode_ms=0.0,
                vad_ms=0.0,
                inference_ms=final.inference_s * 1000,
                total_ms=final.inference_s * 1000,
                realtime_factor=final.inference_s / audio_s if audio_s else 0.0,
            ),
            language_name=LANGUAGES.get(language or ""),
        )
