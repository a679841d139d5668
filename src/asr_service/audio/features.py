"""Speech as the model's encoder takes it: log-mel features, by way of faster-whisper."""

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

FRAMES_PER_SECOND = 100
FULL_CONTEXT = 3000
"""Frames in the 30 s that Whisper was trained on."""

Features = NDArray[np.float32]
"""float32 [n_mels, n_frames], one frame each 10 ms."""


class LogMel:
    """Callable from several threads at once."""

    def __init__(self, n_mels: int) -> None:
        """`n_mels`: 80, or 128 for large-v3 and its kin."""
        self._extract = FeatureExtractor(feature_size=n_mels)

    def __call__(self, samples: NDArray[np.float32], n_frames: int = FULL_CONTEXT) -> Features:
        """Features of `samples` (float32 [n], 16 kHz), cut or padded with zeros to `n_frames`."""
        spoken: Features = self._extract(samples)[:, :-1][:, :n_frames]
        padded = np.zeros((spoken.shape[0], n_frames), np.float32)
        padded[:, : spoken.shape[1]] = spoken
        return padded
