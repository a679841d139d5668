"""Splits a window that may hold several languages into parts of one language each.

Whisper writes a whole window in one language. It translates or invents what is spoken in another. So the window is cut
at its pauses, the language of each piece is detected, and neighbouring pieces of one language are joined again.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from asr_service import tasks
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import Chunk, join_chunks, split_chunk

_MAX_PIECE_S: Final = 6.0
"""Longer pieces hide a change of language; the language of shorter ones is detected wrongly more often."""
_FULL_WEIGHT_S: Final = 3.0
"""The detection in a shorter piece has less weight."""
_CHANGE_COST: Final = 2.5
"""Evidence that a change of language needs, in natural logarithms of probability."""
_MIN_PROBABILITY: Final = 0.001

Detect = Callable[[Chunk], Awaitable[Mapping[str, float]]]
"""Detects the language of a chunk: probabilities by language code."""


@dataclass(frozen=True, slots=True)
class LanguageSegment:
    """A part of a window in which one language is spoken."""

    chunk: Chunk
    language: str
    probability: float
    """The language's probability in the first piece of the part."""


async def split_by_language(chunk: Chunk, detect: Detect) -> list[LanguageSegment]:
    """Split a window where its language changes. Raises the errors of `detect`."""
    pieces = split_chunk(chunk, int(_MAX_PIECE_S * SAMPLE_RATE))
    detections = [asyncio.ensure_future(detect(piece)) for piece in pieces]
    try:
        detected = await asyncio.gather(*detections)
    finally:
        await tasks.cancel(detections)  # if one has failed, the others are not needed
    languages = most_likely_languages(detected, [piece.duration_s for piece in pieces])
    parts = []
    for language, group in groupby(range(len(pieces)), key=lambda number: languages[number]):
        numbers = list(group)
        probability = detected[numbers[0]].get(language, 0.0)
        parts.append(LanguageSegment(join_chunks([pieces[number] for number in numbers]), language, probability))
    return parts


def most_likely_languages(detected: Sequence[Mapping[str, float]], durations_s: Sequence[float]) -> list[str]:
    """Return the most likely sequence of languages for the pieces, with a cost for each change (Viterbi's algorithm).

    `detected` holds each piece's probabilities by language code, `durations_s` each piece's length in seconds.
    """
    candidates = list(
        dict.fromkeys(max(probabilities, key=lambda code: probabilities[code]) for probabilities in detected)
    )
    scores = dict.fromkeys(candidates, 0.0)
    predecessors: list[dict[str, str]] = []
    for probabilities, duration_s in zip(detected, durations_s, strict=True):
        weight = min(duration_s / _FULL_WEIGHT_S, 1.0)
        best = max(scores, key=lambda code: scores[code])
        before = {code: code if scores[code] >= scores[best] - _CHANGE_COST else best for code in candidates}
        scores = {
            code: scores[before[code]]
            - _CHANGE_COST * (before[code] != code)
            + weight * math.log(max(probabilities.get(code, 0.0), _MIN_PROBABILITY))
            for code in candidates
        }
        predecessors.append(before)
    path = [max(scores, key=lambda code: scores[code])]
    for before in reversed(predecessors[1:]):
        path.append(before[path[-1]])
    return path[::-1]
