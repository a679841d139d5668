"""The model's measured throughput, from which expected waits are estimated."""

from dataclasses import dataclass
from typing import Final

_HALF_LIFE_S: Final = 60.0
"""After so many busy seconds an observation counts half."""


@dataclass(slots=True)
class ThroughputEstimator:
    """Seconds of audio done for each second in which at least one model call was running.

    Times given as `now` are monotonic seconds.
    """

    audio_s: float = 0.0
    busy_s: float = 0.0
    _n_running: int = 0
    _since: float = 0.0

    def begin(self, now: float) -> None:
        """Note that a model call begins."""
        if self._n_running == 0:
            self._since = now
        self._n_running += 1

    def end(self, now: float, audio_s: float) -> None:
        """Note that a model call ends which completed `audio_s` seconds of audio."""
        lasted = max(now - self._since, 0.0)
        keep = 0.5 ** (lasted / _HALF_LIFE_S)
        self.audio_s = self.audio_s * keep + audio_s
        self.busy_s = self.busy_s * keep + lasted
        self._since = now
        self._n_running -= 1

    def reset(self, now: float) -> None:
        """Discard all observations. Of the running calls only the time after `now` counts."""
        self.audio_s = self.busy_s = 0.0
        self._since = now

    def estimate_s(self, audio_s: float) -> float:
        """Return the seconds that `audio_s` seconds of audio will take; 0 before the first observation."""
        return audio_s * self.busy_s / self.audio_s if self.audio_s else 0.0
