"""Divides the sound of one session into turns and windows. Knows no clock and no model, and starts no tasks."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.silero import FRAME
from asr_service.engine.pipeline.live.events import (
    Cleared,
    IdleTimeout,
    LiveEvent,
    TurnCommitted,
    TurnStarted,
    TurnStopped,
)
from asr_service.engine.pipeline.live.options import LiveOptions, ServerVad
from asr_service.engine.pipeline.live.samples import SampleBuffer
from asr_service.engine.pipeline.live.speech_detection import Began, Change, Ended, Paused, Resumed, SpeechDetector
from asr_service.engine.pipeline.live.turn import ClosedWindow, Turn, Window, cut_speech

MIN_COMMIT_MS: Final = 100
MAX_WINDOW_S: Final = 28.0
"""A window ends here wherever it is: its sound and a margin must fit the 30 s of the model."""

_PAUSE_MS: Final = 160
"""Silence after which the final text is decoded, in case that the turn ends."""
_KEPT_S: Final = 2.0
"""Seconds of sound that are kept while there is no speech. A longer prefix padding keeps more."""
_MANUAL_SILENCE_MS: Final = 1500
"""With manual commits, silence that ends a window, so that its text is known before the commit."""
_LONG_WINDOW_S: Final = 18.0
"""A longer window ends at the next pause, since it may have no further one before it must end."""
_CONTINUED_MS: Final = 1000
"""Speech that begins so soon after such a pause continues the window before."""


@dataclass(frozen=True, slots=True)
class Reactions:
    """What a session does when something happens. All are called at once, in order."""

    event: Callable[[LiveEvent], None]
    paused: Callable[[Window, ClosedWindow], None]
    """There is no speech at the moment. Gets the window as if the turn ended here."""
    resumed: Callable[[Window], None]
    closed: Callable[[ClosedWindow], None]
    discarded: Callable[[Window], None]
    """The window was cleared."""


class Listener:
    """Follows the sound of one session. A position is a number of samples from its start."""

    def __init__(self, options: LiveOptions, reactions: Reactions) -> None:
        self._options = options
        self._react = reactions
        self._sound = SampleBuffer()
        self._probabilities: list[float] = []
        """Of the frames from `_first_frame` on."""
        self._first_frame = 0
        self._detector = self._new_detector()
        self._turn: Turn | None = None
        self._committed_until = 0
        """Sound before this position belongs to turns that have ended, or was cleared."""
        self._previous_turn_id: str | None = None
        self._idle_since: int | None = 0
        self._long_window: Window | None = None
        """The window before, if it ended at a pause because it was long."""
        self._earlier_window: Window | None = None
        """The window before in the open turn."""
        self.window: Window | None = None
        """The window that grows at the moment."""

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self._sound.end

    @property
    def speech_end(self) -> int:
        """The end of the last speech."""
        return self._detector.speech_end

    def sound_of(self, window: Window) -> NDArray[np.float32]:
        """Return a copy of an open window's samples so far."""
        return self._sound.cut(window.start, self._sound.end)

    def push(self, samples: NDArray[np.float32], probabilities: Sequence[float]) -> None:
        """Take the next samples, and the probabilities of speech of the frames that they complete."""
        self._sound.append(samples)
        for probability in probabilities:
            self._probabilities.append(probability)
            for change in self._detector.push(probability):
                self._note(change)
            if self.window is not None and self._length_s(self.window) >= MAX_WINDOW_S:
                self.split(self.window, self._position)
        self._forget()
        self._check_idle()

    def configure(self, options: LiveOptions) -> None:
        """Use other options from here on. An open turn keeps its own, apart from the detection of its end."""
        changed = options.turn_detection != self._options.turn_detection
        self._options = options
        if not changed:
            return
        self._detector = self._new_detector(is_speaking=self.window is not None)
        turn = self._turn
        if turn is None or turn.is_announced or options.turn_detection is None:
            return
        turn.is_announced = True  # from here on, silence ends it
        self._react.event(TurnStarted(turn.id, _ms(turn.start)))
        if self.window is None:
            self._end_turn(self.end)

    def commit(self) -> bool:
        """End the turn with the sound so far. Return False if there is less than MIN_COMMIT_MS of it."""
        if self.end - self._committed_until < MIN_COMMIT_MS * SAMPLE_RATE // 1000:
            return False
        self._end_turn(self.end)
        self._detector.reset()
        return True

    def finish(self) -> None:
        """End an open turn. Sound without a turn is discarded."""
        if self._turn is not None:
            self._end_turn(self.end)
        self._detector.reset()

    def clear(self) -> None:
        """Discard the sound that is not committed."""
        if self.window is not None:
            self.window.is_open = False
            self._react.discarded(self.window)
        self._turn = self.window = self._earlier_window = None
        self._committed_until = self.end
        self._detector.reset()
        self._react.event(Cleared())

    def split(self, window: Window, at: int) -> None:
        """End an open window at a position between two words; another window continues it.

        With voice activity detection the turn ends too, and another turn continues it.
        """
        turn = window.turn
        at = at // FRAME * FRAME
        if turn.is_announced:
            self._end_turn(at)
            self._begin_turn(at, is_announced=True)
        else:
            self._close_window(at, is_last=False)
        assert self._turn is not None  # noqa: S101 - begun above, or never ended
        earlier = None if turn.is_announced else window
        self.window = Window(self._turn, at, window, earlier, language=window.language)

    # -- what happens in the sound

    def _note(self, change: Change) -> None:
        match change:
            case Began(at):
                self._idle_since = None
                if self.window is None:
                    self._open_window(at)
            case Paused() if self.window is not None and self._length_s(self.window) >= _LONG_WINDOW_S:
                self._end_at_pause(self.window)
            case Paused() if self.window is not None:
                self._react.paused(self.window, self._closing(self.window, self._position, is_last=True))
            case Resumed() if self.window is not None:
                self._react.resumed(self.window)
            case Ended(_, known_at) if self._turn is not None and self._turn.is_announced:
                self._end_turn(known_at)
            case Ended(_, known_at) if self.window is not None:
                self._close_window(known_at, is_last=False)

    @property
    def _position(self) -> int:
        """The end of the frames whose probabilities are known."""
        return (self._first_frame + len(self._probabilities)) * FRAME

    @property
    def _first_free(self) -> int:
        """The first frame that may belong to the next window."""
        return -(-max(self._committed_until, self._sound.start) // FRAME) * FRAME

    def _open_window(self, at: int) -> None:
        detection = self._options.turn_detection
        prefix_ms = ServerVad().prefix_padding_ms if detection is None else detection.prefix_padding_ms
        start = max(at - prefix_ms * SAMPLE_RATE // 1000 // FRAME * FRAME, self._first_free)
        if self._turn is None:
            self._begin_turn(start, is_announced=detection is not None)
        assert self._turn is not None  # noqa: S101 - begun above
        previous = self._long_window
        is_continued = previous is not None and at - self._committed_until <= _CONTINUED_MS * SAMPLE_RATE // 1000
        self.window = Window(self._turn, start, previous if is_continued else None, self._earlier_window)
        self._long_window = None

    def _end_at_pause(self, window: Window) -> None:
        """End a long window in a pause. If speech goes on, it opens another window."""
        if window.turn.is_announced:
            self._end_turn(self._position)
        else:
            self._close_window(self._position, is_last=False)
            self._committed_until = self._position
        self._detector.reset()
        self._long_window = window

    def _begin_turn(self, start: int, *, is_announced: bool) -> None:
        turn = self._turn = Turn(secrets.token_hex(12), start, self._options, is_announced)
        if is_announced:
            self._react.event(TurnStarted(turn.id, _ms(start)))

    def _end_turn(self, end: int) -> None:
        if self._turn is None:
            self._begin_turn(min(self._first_free, end), is_announced=False)
        turn = self._turn
        assert turn is not None  # noqa: S101 - begun above, or before
        if self.window is None:
            self.window = Window(turn, min(self._first_free, end), earlier=self._earlier_window)
        if turn.is_announced:
            self._react.event(TurnStopped(turn.id, _ms(end)))
        self._react.event(TurnCommitted(turn.id, self._previous_turn_id))
        self._close_window(end, is_last=True)
        self._previous_turn_id, self._turn = turn.id, None
        self._committed_until = end
        self._idle_since = end

    def _close_window(self, end: int, *, is_last: bool) -> None:
        window = self.window
        assert window is not None  # noqa: S101 - the callers check it
        closing = self._closing(window, end, is_last=is_last)
        self.window, window.is_open = None, False
        self._earlier_window = None if is_last else window
        self._react.closed(closing)

    def _closing(self, window: Window, end: int, *, is_last: bool) -> ClosedWindow:
        frames = slice(window.start // FRAME - self._first_frame, -(-end // FRAME) - self._first_frame)
        samples = self._sound.cut(window.start, end)
        is_part = window.previous is not None
        chunk = cut_speech(samples, window.start, self._probabilities[frames], window.turn.vad, is_part=is_part)
        return ClosedWindow(window, chunk, end, min(self.speech_end, end), is_last)

    def _length_s(self, window: Window) -> float:
        return (self._position - window.start) / SAMPLE_RATE

    def _forget(self) -> None:
        """Drop the sound that no turn needs any more."""
        if self.window is not None:
            keep_from = self.window.start
        else:
            detection = self._options.turn_detection
            prefix_s = 0.0 if detection is None else detection.prefix_padding_ms / 1000
            keep_from = self._position - int((max(prefix_s, 0.0) + _KEPT_S) * SAMPLE_RATE)
        frame = min(max(keep_from // FRAME, self._first_frame), self._first_frame + len(self._probabilities))
        del self._probabilities[: frame - self._first_frame]
        self._first_frame = frame
        self._sound.drop_before(frame * FRAME)

    def _check_idle(self) -> None:
        detection = self._options.turn_detection
        timeout_ms = detection.idle_timeout_ms if detection else None
        if timeout_ms is None or self._idle_since is None or self._turn is not None:
            return
        if self.end - self._idle_since >= timeout_ms * SAMPLE_RATE // 1000:
            event = IdleTimeout(secrets.token_hex(12), _ms(self._idle_since), _ms(self.end))
            self._idle_since = None
            self._react.event(event)

    def _new_detector(self, *, is_speaking: bool = False) -> SpeechDetector:
        detection = self._options.turn_detection
        vad = self._options.decoding.vad
        if detection is None:
            return SpeechDetector(vad.threshold, _MANUAL_SILENCE_MS, _PAUSE_MS, self._position, is_speaking=is_speaking)
        silence_ms = max(detection.silence_duration_ms, 1)
        return SpeechDetector(
            detection.threshold, silence_ms, min(_PAUSE_MS, silence_ms), self._position, is_speaking=is_speaking
        )


def _ms(position: int) -> int:
    return position * 1000 // SAMPLE_RATE
