"""The recent usage of the model by each caller, for fairness between callers."""

from collections.abc import Callable, Iterable
from typing import Final

from asr_service.access.caller import Caller

LEVEL_AUDIO_S: Final = 15.0
"""Callers whose usage differs by less than a window are equal."""
MIN_HALF_LIFE_S: Final = 10.0
_HALF_LIFE_AUDIO_S: Final = 4 * LEVEL_AUDIO_S


class CallerUsage:
    """Seconds of audio that the model has taken from each caller, with exponential decay.

    The usage of a caller halves every 10 s, so that a caller that had the model to itself is not punished for it when
    others arrive. With a model that needs longer for a minute of audio, it halves in that time.
    """

    def __init__(self, estimate_s: Callable[[float], float]) -> None:
        """`estimate_s` returns how long the model takes for so many seconds of audio; 0 if that is not known yet."""
        self._estimate_s = estimate_s
        self._audio_s: dict[Caller, float] = {}
        """Of each caller, as of `_at_s`."""
        self._at_s = 0.0

    def add(self, caller: Caller, audio_s: float, now: float) -> None:
        """Count audio that the model takes now (monotonic seconds)."""
        remaining = self._remaining(now)
        decayed = {each: used_s * remaining for each, used_s in self._audio_s.items()}
        self._audio_s = {each: used_s for each, used_s in decayed.items() if used_s >= 1}
        self._audio_s[caller] = decayed.get(caller, 0.0) + audio_s
        self._at_s = now

    def levels(self, callers: Iterable[Caller], now: float) -> dict[Caller, int]:
        """Return the usage of each of the callers in whole windows. The caller with the lowest level is next."""
        remaining = self._remaining(now)
        return {each: int(self._audio_s.get(each, 0.0) * remaining / LEVEL_AUDIO_S) for each in callers}

    def _remaining(self, now: float) -> float:
        half_life_s = max(MIN_HALF_LIFE_S, self._estimate_s(_HALF_LIFE_AUDIO_S))
        return float(0.5 ** ((now - self._at_s) / half_life_s))
