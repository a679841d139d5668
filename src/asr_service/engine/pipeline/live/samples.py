"""The latest samples of a live session. A position is a number of samples from the start of the session."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE

_INITIAL: Final = 4 * SAMPLE_RATE


class SampleBuffer:
    """Keeps the samples from `start` up to `end`. Its memory grows with what is kept, not with the session."""

    def __init__(self) -> None:
        self._samples = np.empty(_INITIAL, np.float32)
        self._first = 0
        self._n = 0
        self.start = 0
        """Position of the first sample that is kept."""

    @property
    def end(self) -> int:
        """Position after the last sample."""
        return self.start + self._n

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add samples after the last one."""
        needed = self._n + len(samples)
        if self._first + needed > len(self._samples):
            kept = self._samples[self._first : self._first + self._n]
            fits = _INITIAL <= needed * 2 <= len(self._samples)
            target = self._samples if fits else np.empty(max(2 * needed, _INITIAL), np.float32)
            target[: self._n] = kept.copy() if fits else kept
            self._samples, self._first = target, 0
        self._samples[self._first + self._n : self._first + needed] = samples
        self._n = needed

    def cut(self, start: int, end: int) -> NDArray[np.float32]:
        """Return a copy of the samples from `start` up to `end`, which must be kept."""
        first = self._first + start - self.start
        return self._samples[first : first + end - start].copy()

    def drop_before(self, position: int) -> None:
        """Forget the samples before a position."""
        n_dropped = min(max(position - self.start, 0), self._n)
        self._first += n_dropped
        self._n -= n_dropped
        self.start += n_dropped
