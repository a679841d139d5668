"""Log-mel features for the encoder, computed by faster-whisper."""

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

FRAMES_PER_SECOND = 100
FULL_CONTEXT = 3000
"""Number of frames in 30 s, the window that Whisper was trained on."""

Features = NDArray[np.float32]
"""float32 [n_mels, n_frames], one frame per 10 ms."""


class LogMel:
    """Computes log-mel features. Thread-safe."""

    def __init__(self, n_mels: int) -> None:
        """Create the mel filters. `n_mels` is 80, or 128 for large-v3 and models derived from it."""
        self._extract = FeatureExtractor(feature_size=n_mels)

    def __call__(self, samples: NDArray[np.float32], n_frames: int = FULL_CONTEXT) -> Features:
        """Return the features of `samples` (float32 [n], 16 kHz), cut or padded with zeros to `n_frames`."""
        features: Features = self._extract(samples)[:, :-1][:, :n_frames]
        padded = np.zeros((features.shape[0], n_frames), np.float32)
        padded[:, : features.shape[1]] = features
        return padded
