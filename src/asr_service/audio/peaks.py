"""Measures the waveform of a recording while it is decoded, for players that draw it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.transcript import Peaks

_PER_SECOND: Final = 20
_INTERVAL: Final = SAMPLE_RATE // _PER_SECOND


class PeakMeter:
    """Collects the peaks of one recording, block by block."""

    def __init__(self) -> None:
        self._values = bytearray()

    def add(self, samples: NDArray[np.float32], start: int) -> None:
        """Add samples, float32 [n_samples] in -1 to 1.

        `start` is their place in the recording, in samples, and not before the end of those added earlier. What lies
        between them is silent.
        """
        if not len(samples):
            return
        interval, offset = divmod(start, _INTERVAL)
        padded = np.zeros(-(-(offset + len(samples)) // _INTERVAL) * _INTERVAL, np.float32)
        np.abs(samples, out=padded[offset : offset + len(samples)])
        values = np.rint(padded.reshape(-1, _INTERVAL).max(axis=1) * 255).clip(0, 255).astype(np.uint8)
        if interval < len(self._values):  # the last interval was not complete
            values[0] = max(values[0], self._values.pop())
        self._values += bytes(interval - len(self._values)) + values.tobytes()

    def peaks(self) -> Peaks:
        """Return the peaks of what was added so far."""
        return Peaks(_PER_SECOND, bytes(self._values))
