"""Which language is spoken in which stretch of a window."""

import asyncio

import numpy as np
import pytest

from asr_service.audio.chunking import Chunk
from asr_service.audio.vad import SpeechSpan
from asr_service.engine.decode.code_switching import most_likely_languages, split_by_language


def heard(*stretches: tuple[float, float]) -> list[dict[str, float]]:
    """Probabilities of English and French."""
    return [{"en": english, "fr": french} for english, french in stretches]


@pytest.mark.parametrize(
    ("stretches", "durations_s", "spoken"),
    [
        ([(0.99, 0.01)], [6.0], "en"),
        ([(0.99, 0.001), (0.001, 0.99)], [6.0, 6.0], "en fr"),
        ([(0.99, 0.001), (0.001, 0.99), (0.99, 0.001)], [6.0, 6.0, 6.0], "en fr en"),
        ([(0.99, 0.01), (0.3, 0.6), (0.99, 0.01)], [6.0, 6.0, 6.0], "en en en"),
        ([(0.99, 0.001), (0.001, 0.99), (0.99, 0.001)], [6.0, 0.5, 6.0], "en en en"),
        ([(0.4, 0.6), (0.99, 0.001), (0.99, 0.001)], [6.0, 6.0, 6.0], "en en en"),
    ],
    ids=["one", "a change", "there and back", "in doubt", "a word", "a doubtful beginning"],
)
def test_a_language_changes_where_it_is_sure_to(stretches, durations_s, spoken):
    """A change needs evidence: a doubtful stretch, or a short one, goes with those beside it."""
    assert most_likely_languages(heard(*stretches), durations_s) == spoken.split()


def test_a_language_that_a_stretch_knows_nothing_of_is_unlikely_there():
    """Probabilities need not name each language."""
    assert most_likely_languages([{"en": 0.9}, {"ja": 0.9}, {"ja": 0.8, "zh": 0.1}], [5.0, 5.0, 5.0]) == [
        "en",
        "ja",
        "ja",
    ]


async def test_where_one_stretch_fails_the_others_end_with_it():
    """Nobody waits for them, and their request is forgotten."""
    n_samples = 25 * 16_000
    chunk = Chunk(np.ones(n_samples, np.float32), (SpeechSpan(0, n_samples),))
    begun, ended = [], []

    async def detect(stretch: Chunk) -> dict[str, float]:
        begun.append(stretch)
        try:
            if len(begun) == 1:
                await asyncio.sleep(0)
                raise ValueError("the first")
            await asyncio.Event().wait()
        finally:
            ended.append(stretch)
        return {}

    with pytest.raises(ValueError, match="the first"):
        await split_by_language(chunk, detect)
    assert len(begun) > 1
    assert len(ended) == len(begun)
