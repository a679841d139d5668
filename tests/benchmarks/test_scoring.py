"""Counting of word errors."""

import pytest

from benchmarks.common.scoring import Errors, count_errors


@pytest.mark.parametrize(
    ("language", "reference", "hypothesis", "expected"),
    [
        ("en", "Mr. Brown isn't in colour 28", "mister browns is not in color twenty eight!", Errors(1, 7)),
        ("en", "nobody said anything", "", Errors(3, 3)),
        ("de", "Das ist gut", "das is gut, ja.", Errors(2, 3)),
        ("ja", "東京都、日本。", "東京 日木", Errors(2, 5)),
    ],
)
def test_errors_are_counted_as_in_whispers_paper(language, reference, hypothesis, expected):
    """Spelling variants, case and punctuation are ignored. Words count, and characters in Japanese."""
    assert count_errors(reference, hypothesis, language) == expected


def test_a_set_is_scored_over_all_its_words():
    """A long recording has more weight than a short one."""
    assert (Errors(1, 2) + Errors(0, 8)).rate == pytest.approx(0.1)


def test_a_reference_without_words_is_refused():
    with pytest.raises(ValueError, match="has no words"):
        count_errors("?!", "hello", "en")
