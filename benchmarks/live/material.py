"""What the sessions play: clips of a corpus with silence between them, each session in an order of its own."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from benchmarks.common.corpus import Clip, read_corpus

CLIP_S: Final = (2.0, 10.0)
_GAP_S: Final = (1.2, 2.2)
_NOISE: Final = 3e-4
"""Root mean square of the noise in the gaps, -70 dB: a microphone is never quite silent."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A clip in the sound of a session, and where it begins and ends."""

    clip: Clip
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Playlist:
    """The sound of one session."""

    samples: NDArray[np.float32]
    clips: tuple[Placed, ...]


def speech_clips(folder: Path, language: str) -> list[Clip]:
    """Return the clips with plain speech in a language whose length is that of a turn."""
    low, high = CLIP_S
    clips = read_corpus(folder)
    return [each for each in clips if each.set_name == f"{language}, speech" and low <= each.seconds <= high]


def playlist(clips: list[Clip], seconds: float, seed: int) -> Playlist:
    """Return the sound of a session of about `seconds`. Sessions of different seeds have different orders."""
    chance = random.Random(seed)
    order = chance.sample(clips, len(clips))
    parts, placed, at_s, number = [_silence(chance)], [], 0.0, 0
    at_s = len(parts[0]) / SAMPLE_RATE
    while at_s < seconds:
        clip = order[number % len(order)]
        number += 1
        sound = decode_audio(str(clip.path), sampling_rate=SAMPLE_RATE)
        gap = _silence(chance)
        placed.append(Placed(clip, at_s, at_s + len(sound) / SAMPLE_RATE))
        parts += [sound, gap]
        at_s += (len(sound) + len(gap)) / SAMPLE_RATE
    return Playlist(np.concatenate(parts).astype(np.float32), tuple(placed))


def _silence(chance: random.Random) -> NDArray[np.float32]:
    n_samples = int(chance.uniform(*_GAP_S) * SAMPLE_RATE)
    noise = np.random.default_rng(chance.randrange(2**32)).standard_normal(n_samples) * _NOISE
    return noise.astype(np.float32)
