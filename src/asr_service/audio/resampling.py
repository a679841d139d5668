"""Resamples sound that arrives in pieces to 16 kHz. The filter keeps its state between the pieces."""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE

_ZERO_CROSSINGS: Final = 16
"""Of the filter on each side. More make the edge at the cut-off frequency steeper, and the delay longer."""
_PASS_BAND: Final = 0.93
"""The cut-off, as a fraction of the lower rate's half."""
_KAISER_BETA: Final = 8.0
"""Aliases are 80 dB below the signal."""


class StreamResampler:
    """A polyphase filter for one stream of mono sound. Its output is delayed by 2 ms at most."""

    def __init__(self, rate: int) -> None:
        """Create a resampler for sound of `rate` Hz."""
        common = math.gcd(rate, SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // common, rate // common
        self._phases = _filter(self._up, self._down)
        n_taps = self._phases.shape[1]
        self._kept = np.zeros(n_taps - 1, np.float32)
        """The last input samples, which the next output samples also depend on."""
        self._position = 0
        """Of the next output sample after the first of `_kept`, in steps of 1 / `_up` input samples."""

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output samples that are ready: float32 [n], for input float32 [m] with n / m near the ratio."""
        signal = np.concatenate([self._kept, samples])
        n_taps = self._phases.shape[1]
        n_windows = len(signal) - n_taps + 1
        positions = np.arange(self._position, n_windows * self._up, self._down)
        at, phase = np.divmod(positions, self._up)
        n_used = min(int(self._position + len(positions) * self._down) // self._up, n_windows)
        self._position += len(positions) * self._down - n_used * self._up
        self._kept = signal[n_used:].copy()
        if not len(positions):
            return np.empty(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(signal, n_taps)
        resampled: NDArray[np.float32] = np.einsum("nt,nt->n", windows[at], self._phases[phase])
        return resampled


@lru_cache
def _filter(up: int, down: int) -> NDArray[np.float32]:
    """Return the taps of each phase: float32 [up, n_taps], for windows of input samples in their order."""
    widest = max(1.0, down / up)
    half = math.ceil(_ZERO_CROSSINGS * widest)
    cutoff = _PASS_BAND / widest
    # The output at phase p lies p / up input samples after the middle of the window.
    offsets = np.arange(-half, half + 1)[np.newaxis, :] - np.arange(up)[:, np.newaxis] / up
    window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (offsets / (half + 1)) ** 2, 0, None))) / np.i0(_KAISER_BETA)
    taps = cutoff * np.sinc(cutoff * offsets) * window
    normalized: NDArray[np.float32] = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalized
