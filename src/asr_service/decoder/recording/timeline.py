"""Places decoded audio in the recording, by the timestamps of the file.

A place is in seconds from the start of the recording: from time 0 of the file or, if every stream starts later, from
the start of the first stream. Players show the same times.
"""

import math
from collections.abc import Sequence
from typing import Final

from asr_service.decoder.recording.containers.avi import Absence

_MIN_LATE_START_S: Final = 0.05
_MIN_GAP_S: Final = 0.2  # timestamps are rounded, and encoders add delay and padding
_MIN_BETWEEN_GAPS_S: Final = 0.2
_MAX_STEP_BACK_S: Final = 5.0


class Clock:
    """Turns timestamps into places.

    A timestamp that steps far back, or further ahead than a recording may last, begins a new clock: the audio follows
    on. Such timestamps come from recordings that were joined, and from damage.
    """

    def __init__(self, base_s: float, max_jump_s: float) -> None:
        """`base_s` is the timestamp at the start of the recording."""
        self._shift_s = -base_s
        self._max_jump_s = max_jump_s

    def place(self, timestamp_s: float, end_s: float) -> float:
        """Return the place of the audio with this timestamp. `end_s` is the place where the audio before it ended."""
        place_s = timestamp_s + self._shift_s
        if -_MAX_STEP_BACK_S <= place_s - end_s <= self._max_jump_s:
            return place_s
        self._shift_s = end_s - timestamp_s
        return end_s


class CountedTime:
    """Counts the timestamps of a stream that has none, by its audio and the times without audio."""

    def __init__(self, absences: Sequence[Absence]) -> None:
        self._absences = list(reversed(absences))
        self._start_s: float | None = None
        self._end_s = 0.0

    def absent_before(self, position: int, timestamp_s: float) -> float:
        """Return the seconds without audio before the packet at this position of the file, and move on to its start.

        `timestamp_s` is that of the demuxer, which only knows when the stream starts.
        """
        before_s = self._end_s
        if self._start_s is None:
            self._start_s = self._end_s = timestamp_s
        while self._absences and self._absences[-1].before <= position:
            absence = self._absences.pop()
            gap_s = min(self._start_s + absence.end_s - self._end_s, absence.seconds)
            self._end_s += max(gap_s, 0.0)
        return self._end_s - before_s

    def timestamp_s(self, duration_s: float) -> float:
        """Return the timestamp of the next audio, and move on to its end."""
        self._end_s += duration_s
        return self._end_s - duration_s


class Timeline:
    """Follows decoded frames and finds the gaps between them."""

    def __init__(self, base_s: float, max_absent_s: float, *, has_gaps: bool = True) -> None:
        """`max_absent_s` is the maximum duration of all gaps together. Without `has_gaps`, only a late start is one."""
        self._has_gaps = has_gaps
        self._clock = Clock(base_s, max_absent_s)
        self._max_absent_s = max_absent_s
        self._is_first = True
        self._since_gap_s = math.inf
        self.end_s = 0.0
        """The place where the next audio is expected."""

    def gap_before(self, timestamp_s: float | None, duration_s: float) -> float:
        """Return the seconds without audio before the next frame, and move on to the frame's end."""
        gap_s = 0.0 if timestamp_s is None else self._clock.place(timestamp_s, self.end_s) - self.end_s
        is_gap = gap_s > (_MIN_LATE_START_S if self._is_first else _MIN_GAP_S) and (self._is_first or self._has_gaps)
        if not is_gap or gap_s > self._max_absent_s or self._since_gap_s < _MIN_BETWEEN_GAPS_S:
            gap_s = 0.0
        self._max_absent_s -= gap_s
        self._is_first = False
        self._since_gap_s = (0.0 if gap_s else self._since_gap_s) + duration_s
        self.end_s += gap_s + duration_s
        return gap_s
