"""chrF, the F-score of character n-grams, by which translations are compared: https://aclanthology.org/W15-3049."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MAX_N: Final = 6
_BETA: Final = 2
"""How much more recall counts than precision."""

Counts = NDArray[np.int64]
"""int64 [6, 3]: for each length of n-grams, how many the texts share, and how many the reference and the translation
have. The counts of a corpus are the sum of those of its texts."""


def chrf(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the score of pairs of reference and translation, 0 to 100, as SacreBLEU 2 computes it."""
    return score(np.sum([ngram_counts(*pair) for pair in pairs], axis=0))


def ngram_counts(reference: str, translation: str) -> Counts:
    """Count the n-grams of two texts, without their spaces."""
    rows = []
    for n in range(1, _MAX_N + 1):
        expected, found = _ngrams(reference, n), _ngrams(translation, n)
        rows.append(((expected & found).total(), expected.total(), found.total()))
    return np.array(rows, np.int64)


def score(counts: Counts) -> float:
    """Return the score of a corpus from its counts."""
    rows = [row for row in counts if row[1] and row[2]]
    if not rows:
        return 0.0
    precision = sum(shared / found for shared, _, found in rows) / len(rows)
    recall = sum(shared / expected for shared, expected, _ in rows) / len(rows)
    weighted = _BETA**2 * precision + recall
    return float(100 * (1 + _BETA**2) * precision * recall / weighted) if weighted else 0.0


def _ngrams(text: str, n: int) -> Counter[str]:
    letters = "".join(text.split())
    return Counter(letters[at : at + n] for at in range(len(letters) - n + 1))
