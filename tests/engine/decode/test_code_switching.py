"""How a window is split where its language changes."""

import asyncio

import numpy as np
import pytest

from asr_service.audio.chunking import Chunk
from asr_service.audio.vad import SpeechSpan
from asr_service.engine.decode.code_switching import most_likely_languages, split_by_language


def detected(*pieces: tuple[float, float]) -> list[dict[str, float]]:
    """Return the probabilities of English and French in each piece."""
    return [{"en": english, "fr": french} for english, french in pieces]


@pytest.mark.parametrize(
    ("pieces", "durations_s", "languages"),
    [
        ([(0.99, 0.01)], [6.0], "en"),
        ([(0.99, 0.001), (0.001, 0.99)], [6.0, 6.0], "en fr"),
        ([(0.99, 0.001), (0.001, 0.99), (0.99, 0.001)], [6.0, 6.0, 6.0], "en fr en"),
        ([(0.99, 0.01), (0.3, 0.6), (0.99, 0.01)], [6.0, 6.0, 6.0], "en en en"),
        ([(0.99, 0.001), (0.001, 0.99), (0.99, 0.001)], [6.0, 0.5, 6.0], "en en en"),
        ([(0.4, 0.6), (0.99, 0.001), (0.99, 0.001)], [6.0, 6.0, 6.0], "en en en"),
    ],
    ids=["one piece", "a change", "two changes", "an uncertain piece", "a single word", "an uncertain start"],
)
def test_a_change_of_language_needs_evidence(pieces, durations_s, languages):
    """An uncertain or a short piece gets the language of its neighbours."""
    assert most_likely_languages(detected(*pieces), durations_s) == languages.split()


def test_a_language_without_a_probability_is_unlikely():
    """The detection of a piece need not contain every language."""
    pieces = [{"en": 0.9}, {"ja": 0.9}, {"ja": 0.8, "zh": 0.1}]
    assert most_likely_languages(pieces, [5.0, 5.0, 5.0]) == ["en", "ja", "ja"]


async def test_a_failed_detection_cancels_the_others():
    """Their results are not needed, because the request has failed."""
    n_samples = 25 * 16_000
    chunk = Chunk(np.ones(n_samples, np.float32), (SpeechSpan(0, n_samples),))
    started, ended = [], []

    async def detect(piece: Chunk) -> dict[str, float]:
        started.append(piece)
        try:
            if len(started) == 1:
                await asyncio.sleep(0)
                raise ValueError("the first")
            await asyncio.Event().wait()
        finally:
            ended.append(piece)
        return {}

    with pytest.raises(ValueError, match="the first"):
        await split_by_language(chunk, detect)
    assert len(started) > 1
    assert len(ended) == len(started)
