"""Prepares a recording for voice activity detection, which misses quiet speech and speech on a constant offset.

Only the detector and the search for pauses get these samples. The model gets the recording as it is.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE

Samples = NDArray[np.float32]

_FRAME: Final = SAMPLE_RATE // 50
_LOUD_FRAMES: Final = 15
"""The level is that of the 0.3 s that are loudest: single clicks do not count, and one word does."""
_QUIET: Final = 0.0056
"""Recordings of a lower level, -45 dB, are amplified. Others stay as they are."""
_TARGET: Final = 0.063
"""The level after amplification, -24 dB. With higher ones, noise counts as speech more often."""
_MAX_GAIN: Final = 100.0
"""40 dB. Below -64 dB, speech of 16 bits is too coarse to be found."""
_MAX_OFFSET: Final = 0.5
"""As a fraction of the level. A smaller offset does not disturb the detection."""
_OFFSET_SPAN: Final = SAMPLE_RATE // 4
"""Samples over which the offset is averaged. It may change within a recording."""
_PIECE: Final = 10 * SAMPLE_RATE
"""Samples whose offset is computed at a time. The computation takes about twenty times their memory."""


class Leveller:
    """Removes the offset of one recording and amplifies it if it is quiet, block by block."""

    def __init__(self) -> None:
        self._level = 0.0
        """The highest level so far. Faint sound between loud parts of a recording is not amplified."""

    def __call__(self, samples: Samples) -> Samples:
        """Return `samples` (float32 [n], 16 kHz) unchanged, or a copy without offset or with a higher level."""
        level = _level(samples)
        self._level = max(self._level, level)
        if len(samples) and abs(float(samples.mean(dtype=np.float64))) > _MAX_OFFSET * level:
            samples = _without_offset(samples)
        if not 0 < self._level < _QUIET:
            return samples
        return samples * np.float32(min(_TARGET / self._level, _MAX_GAIN))


class LiveLeveller:
    """Amplifies the quiet sound of one live session, piece by piece.

    The level is that of the loudest 0.3 s so far, as for a recording. Sound that suddenly becomes loud is not
    amplified beyond full scale.
    """

    def __init__(self) -> None:
        self._loudest: list[float] = []
        """The deviations of the loudest frames, in ascending order."""

    def __call__(self, samples: Samples) -> Samples:
        """Return `samples` (float32 [n], 16 kHz) unchanged, or a copy with a higher level."""
        self._loudest = sorted([*self._loudest, *_deviations(samples).tolist()])[-_LOUD_FRAMES:]
        peak = float(np.abs(samples).max(initial=0.0))
        if len(self._loudest) < _LOUD_FRAMES or not 0 < self._loudest[0] < _QUIET or not peak:
            return samples
        return samples * np.float32(max(min(_TARGET / self._loudest[0], _MAX_GAIN, 1 / peak), 1.0))


def _deviations(samples: Samples) -> NDArray[np.float32]:
    """Return the root mean square of each whole frame without its offset."""
    n_frames = len(samples) // _FRAME
    deviations: NDArray[np.float32] = samples[: n_frames * _FRAME].reshape(n_frames, _FRAME).std(axis=1)
    return deviations


def _level(samples: Samples) -> float:
    """Return the root mean square of the loudest parts, without their offset."""
    deviations = _deviations(samples)
    if not len(deviations):
        return 0.0
    at = min(_LOUD_FRAMES, max(1, len(deviations) // 4))
    return float(np.partition(deviations, -at)[-at])


def _without_offset(samples: Samples) -> Samples:
    """Subtract the mean of the samples around each sample."""
    half = min(_OFFSET_SPAN, len(samples)) // 2
    without = np.empty_like(samples)
    for start in range(0, len(samples), _PIECE):
        end = min(start + _PIECE, len(samples))
        left = max(start - half, 0)
        sums = np.concatenate([[0.0], np.cumsum(samples[left : end + half], dtype=np.float64)])
        at = np.arange(start, end)
        first, last = np.maximum(at - half, 0) - left, np.minimum(at + half + 1, len(samples)) - left
        without[start:end] = samples[start:end] - (sums[last] - sums[first]) / (last - first)
    return without
