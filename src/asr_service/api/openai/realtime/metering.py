"""Charges the audio of a session, a second at a time."""

from typing import Final, Self

from asr_service.access.usage import Meter

_STEP_S: Final = 1.0
"""Clients send audio every 20 to 100 ms, and each charge of a key with a limit is a write to its file."""


class SteadyMeter:
    """Collects the audio of a session, and charges it in steps. The rest is charged at the end of the context."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._uncharged_s = 0.0

    def charge(self, audio_s: float) -> None:
        self._uncharged_s += audio_s
        if self._uncharged_s >= _STEP_S:
            self._charge_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._charge_all()

    def _charge_all(self) -> None:
        uncharged_s, self._uncharged_s = self._uncharged_s, 0.0
        self._meter.charge(uncharged_s)
