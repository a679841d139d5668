"""How much live speech the model can follow, from what it has done so far. No model and no tasks.

Final texts must be on time. So sessions are admitted only while their final texts take a part of the model's time, and
partial texts get what is left: the more speakers, the less often. A session that sends faster than real time is not
live: its windows are no more urgent than those of recordings.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from asr_service.engine.pipeline.live.agreement import Caution
from asr_service.errors import Overloaded

_FINAL_SHARE: Final = 0.5
"""Part of the model's time that the final texts of all sessions may take, if all speak at the same time."""
_PARTIAL_SHARE: Final = 0.4
"""Part of the model's time for partial texts."""
_EARLY_SHARE: Final = 0.25
"""While final texts take less than this, they are decoded at each pause, in case that the turn ends there."""
_MEMORY: Final = 0.9
"""Weight of the past when a final or a partial text is measured."""
_FIRST_SESSIONS_PER_THREAD: Final = 2
"""Sessions that are admitted before anything was measured."""
_LATE_S: Final = 1.5
_RECENT_S: Final = 20.0
_MIN_LATE: Final = 3
"""So many recent final texts that took longer than `_LATE_S` show that the model cannot keep up."""
_RETRY_AFTER_S: Final = 10.0
_MAX_AHEAD_S: Final = 15.0
"""A session may send so much audio ahead of time: after an interruption of the network, or a clip that was recorded."""
_MIN_WINDOW_S: Final = 1.0
"""A window counts as at least so much audio, since each takes the model some time, however short it is."""


class LiveLoad:
    """Measures the live sessions of one slot. Belongs to one event loop."""

    def __init__(
        self,
        n_threads: int,
        clock: Callable[[], float] = time.monotonic,
        on_capacity: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Measure sessions whose model runs `n_threads` calls side by side.

        `clock` returns monotonic seconds. `on_capacity` is called with the capacity, whenever it may have changed.
        """
        self._n_threads = n_threads
        self._on_capacity = on_capacity
        self._clock = clock
        self._final_s = self._final_audio_s = 0.0
        self._partial_s = 0.0
        self._n_partials = 0.0
        self._late: deque[float] = deque(maxlen=_MIN_LATE)
        """When the latest final texts that were late were ready."""
        self.n_sessions = 0
        """Those that hold a place."""
        self.n_speaking = 0
        """Sessions in which somebody speaks at the moment."""
        on_capacity(self.capacity)

    def note_final(self, model_s: float, audio_s: float, delay_s: float) -> None:
        """Count a final text: the time of the model, the sound that it is of, and how long after its end it came."""
        self._final_s = self._final_s * _MEMORY + model_s
        self._final_audio_s = self._final_audio_s * _MEMORY + audio_s
        if delay_s > _LATE_S:
            self._late.append(self._clock())
        self._on_capacity(self.capacity)

    def note_partial(self, model_s: float) -> None:
        """Count a partial text: the time of the model."""
        self._partial_s = self._partial_s * _MEMORY + model_s
        self._n_partials = self._n_partials * _MEMORY + 1

    @property
    def capacity(self) -> int:
        """How many sessions may be open, at least one."""
        if not self._final_audio_s:
            return _FIRST_SESSIONS_PER_THREAD * self._n_threads
        share_of_one = self._final_s / self._final_audio_s / self._n_threads
        return max(1, int(_FINAL_SHARE / max(share_of_one, 1e-6)))

    @property
    def is_full(self) -> bool:
        """True if all places are taken."""
        return self.n_sessions >= self.capacity

    def check_room(self) -> None:
        """Check that one more session may be opened. Raises Overloaded: its final texts would not be on time."""
        if self.is_full:
            raise Overloaded(
                f"As many live sessions are open as the service can follow at its speed: {self.n_sessions}. "
                "Try again later.",
                retry_after_s=_RETRY_AFTER_S,
            )
        if self.n_sessions and self._is_late():
            raise Overloaded(
                "The texts of the open live sessions are late: the service is too busy. Try again later.",
                retry_after_s=_RETRY_AFTER_S,
            )

    def interval_s(self, caution: Caution) -> float:
        """Return how many seconds of new sound the next partial text of a session waits for."""
        average_s = self._partial_s / self._n_partials if self._n_partials else 0.0
        needed_s = max(self.n_speaking, 1) * average_s / (_PARTIAL_SHARE * self._n_threads)
        return max(caution.interval_s, needed_s)

    @property
    def allows_early(self) -> bool:
        """True if there is time to decode final texts that may turn out not to be final."""
        if not self._final_audio_s:
            return True
        return self.n_speaking * self._final_s / self._final_audio_s / self._n_threads <= _EARLY_SHARE

    def _is_late(self) -> bool:
        return len(self._late) == _MIN_LATE and self._clock() - self._late[0] < _RECENT_S


class Pace:
    """Compares the audio of a session with the time that has passed. Belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        self._at = clock()
        self._ahead_s = 0.0

    def note_audio(self, audio_s: float) -> None:
        """Count audio that came just now."""
        self._ahead_s = self._ahead_now_s() + audio_s

    def note_window(self, audio_s: float) -> None:
        """Count a window whose audio is complete."""
        self.note_audio(max(_MIN_WINDOW_S - audio_s, 0.0))

    @property
    def is_live(self) -> bool:
        """False if more audio has come than can have been spoken: no speaker waits for its text."""
        return self._ahead_now_s() <= _MAX_AHEAD_S

    def _ahead_now_s(self) -> float:
        now = self._clock()
        self._ahead_s = max(self._ahead_s - (now - self._at), 0.0)
        self._at = now
        return self._ahead_s
