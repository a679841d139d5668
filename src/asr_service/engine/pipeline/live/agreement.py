"""Which words of a growing utterance may be sent, since sent words cannot be taken back. Pure.

An utterance is decoded again and again while it grows. By LocalAgreement (https://arxiv.org/abs/2307.14743) a word may
be sent when successive hypotheses agree on it and on all words before it. The newest words are held back: their sound
may not be complete yet. Case and punctuation at the edges of words do not count, because they change with what follows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Final

from asr_service.engine.pipeline.live.options import Delay
from asr_service.languages import UNSPACED_LANGUAGES

_WORDS: Final = re.compile(r"\s*\S+")
_CHARACTERS: Final = re.compile(r"\s*\S")
_EDGES: Final = re.compile(r"^\W+|\W+$")
_INCOMPLETE: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands for a character of which the model has not written all bytes."""


@dataclass(frozen=True, slots=True)
class Caution:
    """How sure a word must be before it is sent."""

    n_agreeing: int
    """Successive hypotheses that must agree."""
    n_held_back: int
    """Newest words of a hypothesis that are never sent."""
    interval_s: float
    """Minimum seconds of new audio between two hypotheses."""


CAUTION: Final[Mapping[Delay, Caution | None]] = {
    Delay.MINIMAL: Caution(n_agreeing=2, n_held_back=1, interval_s=0.4),
    Delay.LOW: Caution(n_agreeing=2, n_held_back=2, interval_s=0.5),
    Delay.MEDIUM: Caution(n_agreeing=3, n_held_back=2, interval_s=0.4),
    Delay.HIGH: Caution(n_agreeing=3, n_held_back=3, interval_s=0.6),
    Delay.XHIGH: None,
}
"""With None, only final text is sent."""


class SentText:
    """The sent words of one utterance, and the hypotheses about the words that follow them."""

    def __init__(self) -> None:
        self.words: tuple[str, ...] = ()
        """The sent words, each with the space before it."""
        self._following: list[Sequence[str]] = []
        """What the latest hypotheses have after the sent words, the newest last."""

    @property
    def text(self) -> str:
        return "".join(self.words)

    def add(self, following: Sequence[str], caution: Caution) -> str:
        """Take a hypothesis of the words that follow the sent ones. Return the text that may be sent now."""
        self._following = [*self._following, following][-caution.n_agreeing :]
        if len(self._following) < caution.n_agreeing:
            return ""
        n_agreed = min(agreeing(earlier, following) for earlier in self._following)
        n_sent = max(min(n_agreed, len(following) - caution.n_held_back), 0)
        sent = following[:n_sent]
        self.words = (*self.words, *sent)
        self._following = [earlier[n_sent:] for earlier in self._following]
        return "".join(sent)


def agreeing(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words at the start of both are the same, apart from case and punctuation at their edges."""
    return sum(1 for _ in takewhile(lambda pair: plain(pair[0]) == plain(pair[1]), zip(one, other, strict=False)))


def plain(word: str) -> str:
    """Return a word without its case and without punctuation at its edges."""
    return _EDGES.sub("", word.strip()).casefold()


def split_words(text: str, language: str) -> list[str]:
    """Split a text into words, each with the space before it; into characters if the language writes no spaces."""
    pattern = _CHARACTERS if language in UNSPACED_LANGUAGES else _WORDS
    words: list[str] = pattern.findall(text.partition(_INCOMPLETE)[0])
    return [" " + word.strip() if word[0].isspace() else word for word in words]


def n_taken_back(sent: Sequence[str], final: str, language: str) -> int:
    """Return how many of the sent words a final text does not have."""
    words = [plain(word) for word in split_words(final, language)]
    matcher = SequenceMatcher(None, [plain(word) for word in sent], words, autojunk=False)
    return len(sent) - sum(block.size for block in matcher.get_matching_blocks())


def rest_after(sent: Sequence[str], final: str, language: str) -> str | None:
    """Return what a final text has after the sent words; None if it begins with other words."""
    words = split_words(final, language)
    return "".join(words[len(sent) :]) if agreeing(sent, words) == len(sent) else None
