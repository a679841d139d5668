"""Speech whose word times are known, because flite says how long it speaks each sound."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.transcript import Word
from benchmarks.common.flite import flite, speak

_PAUSE: Final = "pau"
_SENTENCE: Final = re.compile(r"[A-Z][A-Za-z ,;]{30,250}[.?]")
"""A sentence without digits and signs, so that its words are those that are spoken."""
_GAPS_S: Final = (0.2, 0.7)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A clip of 16 kHz, and the words in it."""

    samples: NDArray[np.float32]
    words: tuple[Word, ...]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text that are plain words."""
    return [" ".join(found.split()) for found in _SENTENCE.findall(re.sub(r"\s+", " ", text))]


def clips(texts: Sequence[str], voices: Sequence[str], sentences_in_each: Sequence[int]) -> Iterator[Spoken]:
    """Speak the sentences, with the voices in turn, in clips of one or more sentences with short pauses between them.

    A sentence whose sounds cannot be assigned to its words is left out.
    """
    random = np.random.default_rng(1)
    waiting = list(reversed(texts))
    number = 0
    while waiting:
        voice, wanted = voices[number % len(voices)], sentences_in_each[number % len(sentences_in_each)]
        number += 1
        parts: list[NDArray[np.float32]] = []
        words: list[Word] = []
        while waiting and wanted:
            if (spoken := _speak(waiting.pop(), voice)) is None:
                continue
            at_s = sum(map(len, parts)) / SAMPLE_RATE
            words += [Word(word.word, at_s + word.start, at_s + word.end, 1.0) for word in spoken.words]
            parts += [spoken.samples, np.zeros(int(random.uniform(*_GAPS_S) * SAMPLE_RATE), np.float32)]
            wanted -= 1
        if parts:
            yield Spoken(np.concatenate(parts), tuple(words))


def _speak(sentence: str, voice: str) -> Spoken | None:
    """Speak a sentence. Returns None if the number of its sounds is not that of its words."""
    samples, printed = speak(sentence, voice, "-psdur")
    ends = [(sound, float(end)) for sound, _, end in (each.rpartition(":") for each in printed.split())]
    spans = [
        (begin, end) for (_, begin), (sound, end) in zip([("", 0.0), *ends], ends, strict=False) if sound != _PAUSE
    ]
    texts = sentence.split()
    counts = [_count_sounds(re.sub("[,;.?]", "", text), voice) for text in texts]
    if sum(counts) != len(spans):
        return None
    words, at = [], 0
    for text, count in zip(texts, counts, strict=True):
        words.append(Word(text, spans[at][0], spans[at + count - 1][1], 1.0))
        at += count
    return Spoken(samples, tuple(words))


@cache
def _count_sounds(word: str, voice: str) -> int:
    printed = flite("-voice", voice, "-ps", "-t", f"{word} ", "-o", "none")
    return sum(sound != _PAUSE for sound in printed.split())
