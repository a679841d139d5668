"""The score of translations."""

import pytest

from benchmarks.common.chrf import chrf


def test_the_score_is_that_of_sacrebleu():
    """SacreBLEU 2.6 gives 31.67 for these pairs."""
    pairs = [("The cat sat on the mat.", "A cat sat on a mat."), ("Make a statement.", "Come to the point.")]
    assert chrf(pairs) == pytest.approx(31.670975609)


def test_equal_texts_have_the_highest_score_and_no_text_the_lowest():
    assert chrf([("yes, it is", "yes, it is")]) == 100
    assert chrf([("yes, it is", "")]) == 0
