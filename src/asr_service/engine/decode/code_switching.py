"""Which language is spoken where, in a window that may hold several.

Whisper writes a whole window in one language: what is said in another is translated or made up. So a window is cut at
its pauses, the language of each stretch is detected, and what lies between two changes becomes a window of its own.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from asr_service import tasks
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import Chunk, join_chunks, split_chunk

_STRETCH_S = 6.0
"""Longer ones hide a change of language, shorter ones are told wrong more often."""
_FULL_WEIGHT_S = 3.0
"""What a shorter stretch tells counts for less."""
_CHANGE = 2.5
"""Evidence (in natural logarithms of probability) that a change of language needs."""
_LEAST = 0.001

Detect = Callable[[Chunk], Awaitable[Mapping[str, float]]]
"""Probabilities by language code."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A part of a window in which one language is spoken."""

    chunk: Chunk
    language: str
    probability: float
    """As its first stretch has it."""


async def by_language(chunk: Chunk, detect: Detect) -> list[Spoken]:
    """The window's parts, in order."""
    stretches = split_chunk(chunk, int(_STRETCH_S * SAMPLE_RATE))
    hearing = [asyncio.ensure_future(detect(stretch)) for stretch in stretches]
    try:
        heard = await asyncio.gather(*hearing)
    finally:
        await tasks.cancel(hearing)  # where one has failed, the others are for nobody
    languages = likeliest(heard, [stretch.duration_s for stretch in stretches])
    parts = []
    for language, at in groupby(range(len(stretches)), key=lambda number: languages[number]):
        own = list(at)
        probability = heard[own[0]].get(language, 0.0)
        parts.append(Spoken(join_chunks([stretches[number] for number in own]), language, probability))
    return parts


def likeliest(heard: Sequence[Mapping[str, float]], durations_s: Sequence[float]) -> list[str]:
    """A language for each stretch: the likeliest row of them, where changing has its price (Viterbi's algorithm)."""
    candidates = list(
        dict.fromkeys(max(probabilities, key=lambda code: probabilities[code]) for probabilities in heard)
    )
    scores = dict.fromkeys(candidates, 0.0)
    came_from: list[dict[str, str]] = []
    for probabilities, duration_s in zip(heard, durations_s, strict=True):
        weight = min(duration_s / _FULL_WEIGHT_S, 1.0)
        best = max(scores, key=lambda code: scores[code])
        before = {code: code if scores[code] >= scores[best] - _CHANGE else best for code in candidates}
        scores = {
            code: scores[before[code]]
            - _CHANGE * (before[code] != code)
            + weight * math.log(max(probabilities.get(code, 0.0), _LEAST))
            for code in candidates
        }
        came_from.append(before)
    path = [max(scores, key=lambda code: scores[code])]
    for before in reversed(came_from[1:]):
        path.append(before[path[-1]])
    return path[::-1]
