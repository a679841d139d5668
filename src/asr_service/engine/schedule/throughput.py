"""How fast the model works, as measured: what an expected wait is worked out from."""

from dataclasses import dataclass

_MEMORY_S = 60.0
"""Busy seconds after which half of what was measured is forgotten."""


@dataclass(slots=True)
class ThroughputEstimator:
    """Seconds of audio done for each second in which at least one call was running."""

    audio_s: float = 0.0
    busy_s: float = 0.0
    _calls: int = 0
    _since: float = 0.0

    def begin(self, now: float) -> None:
        """A call of the model starts."""
        if self._calls == 0:
            self._since = now
        self._calls += 1

    def end(self, now: float, audio_s: float) -> None:
        """A call ends that finished `audio_s` seconds of audio."""
        lasted = max(now - self._since, 0.0)
        keep = 0.5 ** (lasted / _MEMORY_S)
        self.audio_s = self.audio_s * keep + audio_s
        self.busy_s = self.busy_s * keep + lasted
        self._since = now
        self._calls -= 1

    def reset(self, now: float) -> None:
        """Begin anew; of a call that is running, what comes after `now` counts."""
        self.audio_s = self.busy_s = 0.0
        self._since = now

    def estimate_s(self, audio_s: float) -> float:
        """Seconds that so much audio will take; 0 while nothing has been measured."""
        return audio_s * self.busy_s / self.audio_s if self.audio_s else 0.0
