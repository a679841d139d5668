"""Compare the words of two transcripts of one recording. Pure functions. Times are seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.transcript import Word

_FRAME: Final = SAMPLE_RATE // 100
_SPEECH_DB: Final = 25.0
"""How much below the loudest frames of a clip its speech begins and ends."""
_FAR_S: Final = 0.1

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """How large absolute differences are."""

    n: int
    median_s: float
    p95_s: float
    far: float
    """Share of the differences above 0.1 s."""


def spread(differences_s: Sequence[float]) -> Spread:
    """Summarise differences. Raises ValueError: there are none."""
    if not differences_s:
        raise ValueError("There are no differences.")
    absolute = np.round(np.abs(differences_s), 3)
    far = float(np.mean(absolute > _FAR_S))
    return Spread(len(absolute), float(np.median(absolute)), float(np.quantile(absolute, 0.95)), far)


def differences(words: Sequence[Word], others: Sequence[Word]) -> list[Span]:
    """Return the differences of start and of end for the words that both transcripts have."""
    texts = [[_letters(word) for word in each] for each in (words, others)]
    matcher = SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    return [
        (words[at + i].start - others[other + i].start, words[at + i].end - others[other + i].end)
        for at, other, size in matcher.get_matching_blocks()
        for i in range(size)
    ]


def speech_span(samples: NDArray[np.float32]) -> Span:
    """Return where the sound of a clip (16 kHz) begins and ends, measured by its level."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    levels = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
    loud = np.flatnonzero(levels > np.quantile(levels, 0.95) - _SPEECH_DB)
    return float(loud[0] * _FRAME / SAMPLE_RATE), float((loud[-1] + 1) * _FRAME / SAMPLE_RATE)


def join_with_silence(clips: Sequence[NDArray[np.float32]], silence_s: float) -> tuple[NDArray[np.float32], list[Span]]:
    """Join clips with silence around each. Return the samples, and where the speech of each clip begins and ends."""
    silence = np.zeros(int(silence_s * SAMPLE_RATE), np.float32)
    parts, spans, at_s = [silence], [], silence_s
    for samples in clips:
        begin_s, end_s = speech_span(samples)
        spans.append((at_s + begin_s, at_s + end_s))
        parts += [samples, silence]
        at_s += len(samples) / SAMPLE_RATE + silence_s
    return np.concatenate(parts), spans


def errors_at_edges(words: Sequence[Word], spans: Sequence[Span]) -> list[Span]:
    """Return how far the first word of each span begins from its start, and the last one ends from its end.

    A word belongs to the span whose surroundings, up to the middle between two spans, contain the word's middle. Spans
    without a word are left out.
    """
    borders = [-np.inf, *((before[1] + after[0]) / 2 for before, after in pairwise(spans)), np.inf]
    found = []
    for span, (begin, end) in zip(spans, pairwise(borders), strict=True):
        own = [word for word in words if begin <= (word.start + word.end) / 2 < end]
        if own:
            found.append((own[0].start - span[0], own[-1].end - span[1]))
    return found


def _letters(word: Word) -> str:
    return "".join(letter for letter in word.word.casefold() if letter.isalnum())
