"""A signal without words, for warm-up, measurements and trial runs."""

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE

_SYLLABLES_PER_S = 4


def synthetic_sound(duration_s: float) -> NDArray[np.float32]:
    """Make noise whose loudness varies about as often as syllables do: mono at SAMPLE_RATE, within -1 and 1."""
    t = np.arange(round(duration_s * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    noise = np.random.default_rng(0).standard_normal(len(t), dtype=np.float32)
    return np.clip(0.1 * (1 + np.sin(2 * np.pi * _SYLLABLES_PER_S * t)) * noise, -1, 1).astype(np.float32)
