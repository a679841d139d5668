"""The comparison of word times."""

import numpy as np
import pytest

from asr_service.transcript import Word
from benchmarks.words.compare import differences, errors_at_edges, join_with_silence, spread

RATE = 16_000


def words(*spans: tuple[str, float, float]) -> list[Word]:
    return [Word(text, start, end, 1.0) for text, start, end in spans]


def test_only_words_that_both_transcripts_have_are_compared():
    """Case and punctuation make no difference."""
    one = words((" Yes,", 1.0, 1.5), (" it", 1.5, 1.7), (" is.", 1.7, 2.0))
    other = words((" yes", 1.1, 1.5), (" is", 1.7, 2.5))
    assert differences(one, other) == [(pytest.approx(-0.1), 0.0), (0.0, -0.5)]


def test_a_spread_has_the_size_of_the_differences():
    """A difference to either side counts the same."""
    found = spread([0.02, -0.02, 0.0, -0.5])
    assert (found.n, found.far) == (4, 0.25)
    assert [found.median_s, found.p95_s] == pytest.approx([0.02, 0.428])


def test_known_edges_are_those_of_the_sound():
    """A clip with silence of its own begins where its sound begins."""
    sound = np.sin(np.arange(RATE) * 0.3).astype(np.float32)
    quiet = np.zeros(RATE // 2, np.float32)
    samples, spans = join_with_silence([sound, np.concatenate([quiet, sound])], 2.0)
    assert len(samples) == 8.5 * RATE
    assert spans == [pytest.approx((2.0, 3.0)), pytest.approx((5.5, 6.5))]
    found = errors_at_edges(words((" a", 2.1, 2.5), (" b", 2.5, 2.9), (" c", 5.5, 6.6)), spans)
    assert found == [pytest.approx((0.1, -0.1)), pytest.approx((0.0, 0.1))]
