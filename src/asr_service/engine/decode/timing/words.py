"""Times of words, from the alignment of a window's text tokens with its sound. Pure functions.

Alignment stretches words over pauses. The corrections are those of https://github.com/SYSTRAN/faster-whisper
(transcribe.py, add_word_timestamps). All times are seconds from the start of the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.engine.decode.timing.stretched_words import shrink_stretched, skip_silent_starts
from asr_service.engine.model.protocol import Alignment
from asr_service.transcript import Word

_FRAME_S: Final = 0.02
"""Length of one encoder frame."""
_OPENING: Final = frozenset("\"'“¿([{-")
_CLOSING: Final = frozenset("\"'.。,，!！?？:：”)]}、")
_SENTENCE_ENDS: Final = frozenset(".。!！?？")
_MAX_MEDIAN_S: Final = 0.7
"""Upper limit for the usual duration of a word, for windows in which many words are stretched."""

_LAG_S_PER_LETTER: Final = 0.015
_MAX_LAG_LETTERS: Final = 10
"""The decoder attends to the beginning of a token's sound. So the longer a token is, the earlier before its end the
alignment goes on to the next one (docs/performance.md, "Word times")."""

_NO_MARK: Final = Word("", 0, 0, 0)


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word, and how many tokens it consists of."""

    word: Word
    n_tokens: int


def time_words(
    alignment: Alignment,
    segments: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    spans: Sequence[tuple[float, float]],
    samples: NDArray[np.float32],
) -> list[tuple[Word, ...]]:
    """Return the words of each segment.

    `segments` holds the text tokens of each segment, in the order in which they were aligned. `spans` holds the start
    and the end of each segment. `samples` holds the sound of the window. A word belongs to the segment that contains
    its first token.
    """
    tokens = [token for segment in segments for token in segment]
    duration_s = len(samples) / SAMPLE_RATE
    timed_words = merge_punctuation(_shorten_at_sentence_ends(_raw_words(alignment, tokens, tokenizer, duration_s)))
    words = skip_silent_starts(shrink_stretched([timed.word for timed in timed_words], samples), samples)
    ends = list(accumulate(len(segment) for segment in segments))
    grouped: list[list[Word]] = [[] for _ in segments]
    at = 0
    for timed, word in zip(timed_words, words, strict=True):
        grouped[next((i for i, end in enumerate(ends) if at < end), len(ends) - 1)].append(word)
        at += timed.n_tokens
    return [fit_to_segment(tuple(group), *span) for group, span in zip(grouped, spans, strict=True)]


def _raw_words(alignment: Alignment, tokens: list[int], tokenizer: Tokenizer, duration_s: float) -> list[TimedWord]:
    texts, token_groups = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    if len(token_groups) <= 1 or not alignment.pairs:
        return []
    text_at, frame_at = np.array(alignment.pairs).T
    onsets = frame_at[np.diff(text_at, prepend=-1) > 0] * _FRAME_S  # the first frame of each token
    edges = [0, *accumulate(len(group) for group in token_groups[:-1])]
    last = len(onsets) - 1
    n_letters = [sum(map(str.isalnum, tokenizer.decode(group[-1:]))) for group in token_groups[:-1]]
    times = word_edges([float(onsets[min(edge, last)]) for edge in edges], n_letters, duration_s)
    return [
        TimedWord(Word(text, start_s, end_s, float(np.mean(alignment.token_probs[start:end]))), end - start)
        for text, (start, end), (start_s, end_s) in zip(texts, pairwise(edges), pairwise(times), strict=False)
    ]


def word_edges(onsets: Sequence[float], n_letters: Sequence[int], duration_s: float) -> list[float]:
    """Return where each word begins and, last, where the last one ends.

    `onsets` are the beginnings and the end as the alignment has them, and `n_letters` the letters in the last token of
    each word. An edge moves by the length of the word before it, at most to the middle of the word after it.
    """
    edges = [min(onsets[-1] + _lag(n_letters[-1]), max(duration_s, onsets[-1]))]
    for onset, before, after in reversed(list(zip(onsets[1:], n_letters, n_letters[1:], strict=False))):
        latest = (onset + edges[0]) / 2 if after else edges[0]  # a mark has no sound of its own
        edges.insert(0, min(onset + _lag(before), latest))
    return [onsets[0], *edges]


def _lag(n_letters: int) -> float:
    return _LAG_S_PER_LETTER * min(n_letters, _MAX_LAG_LETTERS)


def _shorten_at_sentence_ends(words: list[TimedWord]) -> list[TimedWord]:
    """Shorten words next to the end of a sentence that last over twice the usual: they include the pause."""
    longest = 2 * _median_duration([timed.word for timed in words])
    shortened = words[:1]
    for before, timed in pairwise(words):
        word = timed.word
        if word.end - word.start > longest > 0:
            if word.word in _SENTENCE_ENDS:
                word = replace(word, end=word.start + longest)
            elif before.word.word in _SENTENCE_ENDS:
                word = replace(word, start=word.end - longest)
        shortened.append(TimedWord(word, timed.n_tokens))
    return shortened


def merge_punctuation(words: list[TimedWord]) -> list[TimedWord]:
    """Join opening marks to the word after them, and closing marks to the word before them."""
    merged: list[TimedWord] = []
    opening = TimedWord(_NO_MARK, 0)
    for timed in words:
        mark = timed.word.word.strip()
        if timed.word.word.startswith(" ") and (not mark or mark in _OPENING):  # a space may be a token of its own
            opening = _joined(opening, timed) if opening.n_tokens else timed
        elif merged and not opening.n_tokens and timed.word.word in _CLOSING:
            merged[-1] = _extended(merged[-1], timed)
        else:
            merged.append(_joined(opening, timed) if opening.n_tokens else timed)
            opening = TimedWord(_NO_MARK, 0)
    if opening.n_tokens and merged and not opening.word.word.strip():
        return [*merged[:-1], _extended(merged[-1], opening)]
    return [*merged, opening] if opening.n_tokens else merged


def _joined(mark: TimedWord, timed: TimedWord) -> TimedWord:
    word = timed.word
    return TimedWord(replace(word, word=mark.word.word + word.word), mark.n_tokens + timed.n_tokens)


def _extended(timed: TimedWord, mark: TimedWord) -> TimedWord:
    word = timed.word
    return TimedWord(replace(word, word=word.word + mark.word.word), timed.n_tokens + mark.n_tokens)


def fit_to_segment(words: tuple[Word, ...], start: float, end: float) -> tuple[Word, ...]:
    """Use the segment's own times if the first or the last word is stretched over the pause next to it.

    No word becomes longer.
    """
    if not words:
        return words
    usual = _median_duration(words)
    first, last = words[0], words[-1]
    if start < first.end and start - 0.5 > first.start:
        first = replace(first, start=max(first.start, min(first.end - usual, start)))
        words = (first, *words[1:])
        last = words[-1]
    if end > last.start and end + 0.5 < last.end:
        words = (*words[:-1], replace(last, end=min(last.end, max(last.start + usual, end))))
    return words


def _median_duration(words: Sequence[Word]) -> float:
    lasting = [word.end - word.start for word in words if word.end > word.start]
    return min(_MAX_MEDIAN_S, float(np.median(lasting))) if lasting else 0.0
