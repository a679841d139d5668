"""Word error rate, the way Whisper's paper counts it."""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

WRITTEN_WITHOUT_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
"""Counted by character. https://arxiv.org/abs/2212.04356, section 4.4."""


class Normalizer(Protocol):
    def __call__(self, text: str, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Errors:
    """Words put in, left out and changed, against the words there were; characters for some languages."""

    n_errors: int
    n_words: int

    @property
    def rate(self) -> float:
        return self.n_errors / self.n_words

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(self.n_errors + other.n_errors, self.n_words + other.n_words)


def count_errors(reference: str, hypothesis: str, language: str) -> Errors:
    """Compare after Whisper's own normalizer: case, punctuation, English spellings and numbers make no difference.

    Raises ValueError: the reference has no words.
    """
    expected, got = _words(reference, language), _words(hypothesis, language)
    if not expected:
        raise ValueError(f"a reference without words: {reference!r}")
    counts = jiwer.process_words(" ".join(expected), " ".join(got))
    return Errors(counts.substitutions + counts.deletions + counts.insertions, len(expected))


def _words(text: str, language: str) -> list[str]:
    words = _normalizer(language)(text).split()
    return list("".join(words)) if language in WRITTEN_WITHOUT_SPACES else words


@cache
def _normalizer(language: str) -> Normalizer:
    normalizer: Normalizer = EnglishTextNormalizer() if language == "en" else BasicTextNormalizer()
    return normalizer
