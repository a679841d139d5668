"""Sends the text of a window while somebody still speaks: decodes it again and again, and sends what is certain."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from asr_service import metrics
from asr_service.audio import SAMPLE_RATE
from asr_service.engine.pipeline.live.agreement import CAUTION, Caution, split_words
from asr_service.engine.pipeline.live.events import LiveEvent
from asr_service.engine.pipeline.live.finisher import NewRequest
from asr_service.engine.pipeline.live.listener import Listener
from asr_service.engine.pipeline.live.load import LiveLoad, Pace
from asr_service.engine.pipeline.live.partial import PartialDecoder, PartialHypothesis, Utterance
from asr_service.engine.pipeline.live.turn import MIN_DETECTION_S, Window
from asr_service.engine.schedule.batch import LiveWork
from asr_service.engine.schedule.request import RequestHandle
from asr_service.errors import DeadlineExceeded, InferenceFailed, Overloaded
from asr_service.languages import written_language

log = structlog.get_logger(__name__)

_FIRST_S: Final = 0.5
"""Seconds of sound before the first hypothesis."""
_SPLIT_S: Final = 25.0
"""A window without a pause is split here, after the last word that was sent."""
_MAX_WAIT_S: Final = 3.0
"""A partial text that waits longer for the model is left out."""


class PartialSender:
    """Makes the partial texts of one session, one at a time."""

    def __init__(
        self,
        decoder: PartialDecoder,
        load: LiveLoad,
        listener: Listener,
        new_request: NewRequest,
        on_event: Callable[[LiveEvent], None],
        in_script: Callable[[Window, PartialHypothesis], str],
        pace: Pace,
        latest_language: Callable[[], str | None],
    ) -> None:
        """Create a sender.

        `in_script` returns a text in the script of the session. `latest_language` returns the language of the turn
        before, if there is one.
        """
        self._decoder = decoder
        self._load = load
        self._listener = listener
        self._new_request = new_request
        self._on_event = on_event
        self._in_script = in_script
        self._pace = pace
        self._latest_language = latest_language
        self._has_sound = asyncio.Event()
        self._decoding: tuple[Window, asyncio.Task[PartialHypothesis]] | None = None
        self.n_sent = 0

    def note_sound(self) -> None:
        """Note that there is new sound."""
        self._has_sound.set()

    def stop(self, window: Window) -> None:
        """Stop the partial text of a window that is not open any more."""
        if self._decoding is not None and self._decoding[0] is window:
            self._decoding[1].cancel()

    async def run(self) -> None:
        """Send texts until this is cancelled. Raises EngineStopped: the engine takes no more work."""
        while True:
            await self._has_sound.wait()
            self._has_sound.clear()
            window = self._listener.window
            if window is not None and (caution := self._due(window)):
                await self._update(window, caution)

    def _due(self, window: Window) -> Caution | None:
        """Return how careful to be with the window's next hypothesis; None if there is none yet."""
        caution = CAUTION[window.turn.options.delay]
        if window.earlier is not None and not window.earlier.tokens.done():
            return None
        if not self._pace.is_live:
            return None  # its speech is ahead of real time, so its client does not follow the text
        if caution is None or window.early is not None or self._listener.speech_end <= window.decoded_until:
            return None
        since = window.decoded_until
        wait_s = self._load.interval_s(caution) if since > window.start else _FIRST_S
        if self._listener.end - since < wait_s * SAMPLE_RATE:
            return None
        if since > window.start and wait_s > caution.interval_s:
            metrics.LIVE_DELAYED.inc()
        return caution

    async def _update(self, window: Window, caution: Caution) -> None:
        """Decode the window once more, and send what is certain by now."""
        samples = self._listener.sound_of(window)
        window.decoded_until = self._listener.end
        options = window.turn.options.decoding
        language = options.language or window.language
        is_short = len(samples) < MIN_DETECTION_S * SAMPLE_RATE
        if language is None and is_short:
            language = self._latest_language()
        before = self._tokens_before(window, language)
        utterance = Utterance(samples, window.sent.text, language, before)
        request = self._new_request(options, LiveWork.PARTIAL, _MAX_WAIT_S)
        task = asyncio.create_task(self._decoder.decode(request, utterance))
        self._decoding = window, task
        partial: PartialHypothesis | None = None
        try:
            partial = await _result(task)
            if partial is not None and window.is_open:
                if not is_short:
                    window.language = partial.language
                rest = self._send(window, partial, caution)
                if len(samples) >= _SPLIT_S * SAMPLE_RATE and rest and window.sent.text:
                    await self._split(window, request, partial, rest, len(samples) / SAMPLE_RATE)
        except (DeadlineExceeded, InferenceFailed, Overloaded) as error:
            log.debug("a partial text was left out", error=repr(error))
        finally:
            task.cancel()
            self._decoding = None
            request.scheduler.cancel_request(request.request_id)
        if request.inference_s:
            self._load.note_partial(request.inference_s)
        metrics.LIVE_PARTIALS.labels("dropped" if partial is None else "decoded").inc()

    def _send(self, window: Window, partial: PartialHypothesis, caution: Caution) -> str:
        """Send what is certain by now, and return the rest of the hypothesis."""
        turn = window.turn
        language = written_language(partial.language, turn.options.decoding.task)
        words = split_words(self._in_script(window, partial), language)
        sent = window.sent.add(words, caution)
        if sent:
            self._on_event(turn.next_delta(sent))
            self.n_sent += 1
        return "".join(words)[len(sent) :]

    async def _split(
        self, window: Window, request: RequestHandle, partial: PartialHypothesis, rest: str, sound_s: float
    ) -> None:
        """End a long window where the rest of its text begins. The rest is decoded with the next window."""
        at_s = await self._decoder.start_of(request, partial, window.sent.text, rest, sound_s)
        at = window.start + int(at_s * SAMPLE_RATE)
        if window.is_open and window.start < at < self._listener.end:
            self._listener.split(window, at)

    @staticmethod
    def _tokens_before(window: Window, language: str | None) -> tuple[int, ...]:
        if window.previous is None or not window.previous.tokens.done():
            return ()
        before = window.previous.tokens.result()
        return before.tokens if before.language == language else ()


async def _result(task: "asyncio.Task[PartialHypothesis]") -> PartialHypothesis | None:
    """Wait for a task. Return None if it was cancelled, and raise CancelledError only if the waiting one was."""
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()
