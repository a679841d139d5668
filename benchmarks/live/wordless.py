"""Ten minutes without a word: silence, noise and music, in which a live session must find no text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE

Sound = NDArray[np.float32]

_PART_S: Final = 40.0
_RECORDINGS: Final = Path(__file__).parents[2] / "tests" / "data"
_LOUD: Final = 0.1
_QUIET: Final = 0.003


def wordless_sounds() -> Iterator[tuple[str, Sound]]:
    """Yield the name and the samples of each part, 40 s each."""
    n_samples = int(_PART_S * SAMPLE_RATE)
    seconds = np.arange(n_samples) / SAMPLE_RATE
    yield "digital silence", np.zeros(n_samples, np.float32)
    for level, loudness in (("quiet", _QUIET), ("loud", _LOUD)):
        for slope, colour in enumerate(("white", "pink", "brown")):
            yield f"{level} {colour} noise", _noise(n_samples, slope) * np.float32(loudness)
        yield f"{level} hum of 50 Hz", (loudness * np.sin(2 * np.pi * 50 * seconds)).astype(np.float32)
    yield "knocks", _knocks(n_samples)
    yield "chords", (_LOUD * _chords(seconds)).astype(np.float32)
    for path in (_RECORDINGS / "music-coffee.opus", _RECORDINGS / "noise-monkeys.opus"):
        recorded = decode_audio(str(path), sampling_rate=SAMPLE_RATE)
        for gain in (1.0, 0.1):
            yield f"{path.stem}, x {gain}", np.resize(recorded, n_samples) * np.float32(gain)


def _noise(n_samples: int, slope: int) -> Sound:
    """Return noise of level 1 whose power falls with the frequency to the power of `slope`."""
    spectrum = np.fft.rfft(np.random.default_rng(slope).standard_normal(n_samples))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (slope / 2)
    noise: NDArray[np.float64] = np.fft.irfft(spectrum, n_samples)
    level: Sound = (noise / noise.std()).astype(np.float32)
    return level


def _knocks(n_samples: int) -> Sound:
    sound = np.zeros(n_samples, np.float32)
    knock = np.exp(-np.arange(800) / 80) * np.sin(np.arange(800) / 4)
    for start in range(0, n_samples - 800, SAMPLE_RATE * 7 // 10):
        sound[start : start + 800] += (0.5 * knock).astype(np.float32)
    return sound


def _chords(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a chord that changes each second."""
    roots = 220 * 2 ** (np.array([0, 5, 7, 0, 9, 5, 7, 2])[seconds.astype(int) % 8] / 12)
    phases = 2 * np.pi * np.cumsum(roots) / SAMPLE_RATE
    fading = np.exp(-2 * (seconds % 1))
    chord: NDArray[np.float64] = fading * (np.sin(phases) + np.sin(1.26 * phases) + np.sin(1.5 * phases)) / 3
    return chord
