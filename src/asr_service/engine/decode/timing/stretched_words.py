"""Shortens words that alignment stretched over silence or faint sound, and moves starts out of silence. Pure functions.

Alignment gives every moment of a window to some word. So the first word also gets what comes before it, and a word
next to a pause gets the pause. A stretched word keeps only its loud part: where the sound is about as loud as in the
window's other words. Compare `add_word_timestamps` in https://github.com/openai/whisper/blob/main/whisper/timing.py,
which cuts such words to twice the usual duration without looking at the sound.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.transcript import Word

_FRAME_S: Final = 0.02
_FRAME: Final = int(_FRAME_S * SAMPLE_RATE)
_MIN_STRETCHED_S: Final = 1.0
"""Shorter words are left as they are."""
_MAX_WORD_S: Final = 2.0
"""A word that is longer and loud throughout is cut to twice the usual duration."""
_QUIET_DB: Final = 15.0
"""A frame is quiet if it is this much below the median level of the usual words. Within a word the level varies by
less, except for a few frames."""
_SILENT_DB: Final = 25.0
"""A frame is silent if it is this much below that median."""
_MIN_SILENT_S: Final = 0.1
"""A word that begins with a shorter silence is left as it is: it may be the closure of a plosive."""
_MAX_GAP_S: Final = 0.2
"""Quiet frames within a word, such as those before a plosive, last no longer."""
_USUAL_S: Final = 0.4
"""The usual duration of a word if all words of a window are stretched."""

Span = tuple[float, float]


def shrink_stretched(words: Sequence[Word], samples: NDArray[np.float32]) -> list[Word]:
    """Return the words of a window with their own spans. Times are seconds from the start of `samples`."""
    spans = [(word.start, word.end) for word in words]
    usual = [span for span in spans if 0 < span[1] - span[0] <= _MIN_STRETCHED_S]
    if len(usual) == len([span for span in spans if span[1] > span[0]]):
        return list(words)
    usual_s = float(np.median([end - start for start, end in usual])) if usual else _USUAL_S
    loud = _loud_frames(samples, usual, _QUIET_DB)
    for number in reversed(range(len(spans))):  # a word without sound of its own takes from the word after it
        start, end = spans[number]
        if end - start <= max(_MIN_STRETCHED_S, 2 * usual_s):
            continue
        found = _loudest_part(loud, start, end)
        if found is None and number + 1 < len(spans):
            spans[number], spans[number + 1] = _share(words[number], words[number + 1], spans[number + 1], usual_s)
        else:
            spans[number] = _limited(found or (start, end), usual_s)
    return [replace(word, start=start, end=end) for word, (start, end) in zip(words, spans, strict=True)]


def skip_silent_starts(words: Sequence[Word], samples: NDArray[np.float32]) -> list[Word]:
    """Return the words of a window, of which none begins with silence. Times are seconds from the start of `samples`.

    The first word after a pause also gets the end of the pause: alignment has it begin 0.17 s too early.
    """
    sounding = _loud_frames(samples, [(word.start, word.end) for word in words], _SILENT_DB)
    return [_without_silent_start(word, sounding[_frame(word.start) : _frame(word.end)]) for word in words]


def _without_silent_start(word: Word, sounding: NDArray[np.bool_]) -> Word:
    silent_s = float(np.argmax(sounding)) * _FRAME_S if sounding.any() else 0.0
    return replace(word, start=word.start + silent_s - _FRAME_S) if silent_s >= _MIN_SILENT_S else word


def _loud_frames(samples: NDArray[np.float32], usual: Sequence[Span], quiet_db: float) -> NDArray[np.bool_]:
    """Return which frames are at most `quiet_db` below the median level of the usual words; all without such words."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    levels = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
    spoken = [level for start, end in usual for level in levels[_frame(start) : _frame(end)]]
    return np.asarray(levels >= (np.median(spoken) if spoken else -np.inf) - quiet_db)


def _loudest_part(loud: NDArray[np.bool_], start: float, end: float) -> Span | None:
    """Return the longest loud part of a span, the last one if several are as long; None if the span is quiet."""
    at = _frame(start) + np.flatnonzero(loud[_frame(start) : _frame(end)])
    if not len(at):
        return None
    cuts = np.flatnonzero(np.diff(at) > _MAX_GAP_S / _FRAME_S) + 1
    parts = [(part[0] * _FRAME_S, min((part[-1] + 1) * _FRAME_S, end)) for part in np.split(at, cuts)]
    first, last = max(reversed(parts), key=lambda part: part[1] - part[0])
    return max(float(first), start), float(last)


def _share(word: Word, following: Word, span: Span, usual_s: float) -> tuple[Span, Span]:
    """Return the spans of a word that has no sound of its own, and of the word after it.

    If the word after it is long enough for both, they share its span by their letters.
    """
    start, end = span
    if end - start < 1.5 * usual_s:
        return (max(0.0, start - usual_s), start), span
    n_letters = [len(each.word.strip()) for each in (word, following)]
    middle = start + (end - start) * n_letters[0] / max(1, sum(n_letters))
    return (start, middle), (middle, end)


def _limited(span: Span, usual_s: float) -> Span:
    """Return the end of a span that is longer than a word lasts, since alignment stretches words backward."""
    start, end = span
    return (end - 2 * usual_s, end) if end - start > _MAX_WORD_S else span


def _frame(seconds: float) -> int:
    return round(seconds / _FRAME_S)
