"""Word error rate, counted as in Whisper's paper: https://arxiv.org/abs/2212.04356, section 4.4."""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

WRITTEN_WITHOUT_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
"""Languages that are scored by character."""


class Normalizer(Protocol):
    def __call__(self, text: str, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Errors:
    """Number of insertions, deletions and substitutions, and of reference words.

    For WRITTEN_WITHOUT_SPACES both numbers count characters.
    """

    n_errors: int
    n_words: int

    @property
    def rate(self) -> float:
        return self.n_errors / self.n_words

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(self.n_errors + other.n_errors, self.n_words + other.n_words)


def count_errors(reference: str, hypothesis: str, language: str) -> Errors:
    """Count the errors of a transcript after Whisper's own text normalization.

    Case, punctuation, English spelling variants and the form of numbers make no difference.
    Raises ValueError: when the reference has no words.
    """
    expected, got = words_of(reference, language), words_of(hypothesis, language)
    if not expected:
        raise ValueError(f"The reference {reference!r} has no words.")
    counts = jiwer.process_words(" ".join(expected), " ".join(got))
    return Errors(counts.substitutions + counts.deletions + counts.insertions, len(expected))


def words_of(text: str, language: str) -> list[str]:
    """Return the normalized words of a text; its characters for WRITTEN_WITHOUT_SPACES."""
    words = _normalizer(language)(text).split()
    return list("".join(words)) if language in WRITTEN_WITHOUT_SPACES else words


@cache
def _normalizer(language: str) -> Normalizer:
    normalizer: Normalizer = EnglishTextNormalizer() if language == "en" else BasicTextNormalizer()
    return normalizer
