"""Which language is spoken in which stretch of a window."""

import pytest

from asr_service.engine.mixed import likeliest


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
    assert likeliest(heard(*stretches), durations_s) == spoken.split()


def test_a_language_that_a_stretch_knows_nothing_of_is_unlikely_there():
    """Probabilities need not name each language."""
    assert likeliest([{"en": 0.9}, {"ja": 0.9}, {"ja": 0.8, "zh": 0.1}], [5.0, 5.0, 5.0]) == ["en", "ja", "ja"]
