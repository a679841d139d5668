"""Times for words, from the alignment of a window's text tokens with its sound. Pure functions.

The corrections for words that alignment draws out over a pause are those of
https://github.com/SYSTRAN/faster-whisper (transcribe.py, add_word_timestamps).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
from faster_whisper.tokenizer import Tokenizer

from asr_service.engine.model.protocol import Alignment
from asr_service.transcript import Word

_FRAME_S = 0.02
_OPENING = frozenset("\"'“¿([{-")
_CLOSING = frozenset("\"'.。,，!！?？:：”)]}、")
_SENTENCE_ENDS = frozenset(".。!！?？")
_LONGEST_MEDIAN_S = 0.7


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word in window time, and how many tokens it was spoken with."""

    word: Word
    n_tokens: int


def time_words(
    alignment: Alignment,
    segments: Sequence[Sequence[int]],
    speaker: Tokenizer,
    durations: Sequence[tuple[float, float]],
) -> list[tuple[Word, ...]]:
    """Words of each segment, in seconds from the window's start.

    `segments` holds each segment's text tokens (as they were aligned, one after the other), `durations` its start and
    end. Each word belongs to the segment that its first token stands in.
    """
    tokens = [token for segment in segments for token in segment]
    words = _merge_punctuation(_tighten(_raw_words(alignment, tokens, speaker)))
    ends = list(accumulate(len(segment) for segment in segments))
    grouped: list[list[Word]] = [[] for _ in segments]
    at = 0
    for word in words:
        grouped[next((i for i, end in enumerate(ends) if at < end), len(ends) - 1)].append(word.word)
        at += word.n_tokens
    return [_within(tuple(group), *span) for group, span in zip(grouped, durations, strict=True)]


def _raw_words(alignment: Alignment, tokens: list[int], speaker: Tokenizer) -> list[TimedWord]:
    texts, token_groups = speaker.split_to_word_tokens([*tokens, speaker.eot])
    if len(token_groups) <= 1 or not alignment.pairs:
        return []
    text_at, frame_at = np.array(alignment.pairs).T
    onsets = frame_at[np.diff(text_at, prepend=-1) > 0] * _FRAME_S  # where each token is first heard
    edges = [0, *accumulate(len(group) for group in token_groups[:-1])]
    last = len(onsets) - 1
    return [
        TimedWord(
            Word(
                text,
                float(onsets[min(start, last)]),
                float(onsets[min(end, last)]),
                float(np.mean(alignment.token_probs[start:end])),
            ),
            end - start,
        )
        for text, (start, end) in zip(texts, pairwise(edges), strict=False)
    ]


def _tighten(words: list[TimedWord]) -> list[TimedWord]:
    """Shorten what lasts over twice the usual beside the end of a sentence: it holds the pause."""
    longest = 2 * _median_duration([timed.word for timed in words])
    tight = words[:1]
    for before, timed in pairwise(words):
        word = timed.word
        if word.end - word.start > longest > 0:
            if word.word in _SENTENCE_ENDS:
                word = replace(word, end=word.start + longest)
            elif before.word.word in _SENTENCE_ENDS:
                word = replace(word, start=word.end - longest)
        tight.append(TimedWord(word, timed.n_tokens))
    return tight


def _merge_punctuation(words: list[TimedWord]) -> list[TimedWord]:
    """Opening marks join the word after them, closing marks the word before."""
    merged: list[TimedWord] = []
    opening = TimedWord(Word("", 0, 0, 0), 0)
    for timed in words:
        mark = timed.word.word.strip()
        if timed.word.word.startswith(" ") and (not mark or mark in _OPENING):  # a space may be a token of its own
            opening = _joined(opening, timed) if opening.n_tokens else timed
        elif merged and not opening.n_tokens and timed.word.word in _CLOSING:
            merged[-1] = _extended(merged[-1], timed)
        else:
            merged.append(_joined(opening, timed) if opening.n_tokens else timed)
            opening = TimedWord(Word("", 0, 0, 0), 0)
    if opening.n_tokens and merged and not opening.word.word.strip():
        return [*merged[:-1], _extended(merged[-1], opening)]
    return [*merged, opening] if opening.n_tokens else merged


def _joined(mark: TimedWord, timed: TimedWord) -> TimedWord:
    word = timed.word
    return TimedWord(replace(word, word=mark.word.word + word.word), mark.n_tokens + timed.n_tokens)


def _extended(timed: TimedWord, mark: TimedWord) -> TimedWord:
    word = timed.word
    return TimedWord(replace(word, word=word.word + mark.word.word), timed.n_tokens + mark.n_tokens)


def _within(words: tuple[Word, ...], start: float, end: float) -> tuple[Word, ...]:
    """Take the model's own segment times where the first or last word is stretched over the pause beside it."""
    if not words:
        return words
    usual = _median_duration(words)
    first, last = words[0], words[-1]
    if start < first.end and start - 0.5 > first.start:
        first = replace(first, start=max(0.0, min(first.end - usual, start)))
        words = (first, *words[1:])
        last = words[-1]
    if end > last.start and end + 0.5 < last.end:
        words = (*words[:-1], replace(last, end=max(last.start + usual, end)))
    return words


def _median_duration(words: Sequence[Word]) -> float:
    lasting = [word.end - word.start for word in words if word.end > word.start]
    return min(_LONGEST_MEDIAN_S, float(np.median(lasting))) if lasting else 0.0
