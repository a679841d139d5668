"""Segments as pieces of text that stay together when lines are broken, each with its time. Pure functions.

A piece is a word, or a phrase where a script writes no spaces (phrases.py). What may not begin or end a line
(https://www.w3.org/TR/jlreq/#line_breaking, UAX #14) belongs to its neighbour.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from asr_service.formats.subtitles.phrases import phrase_starts
from asr_service.transcript import Segment

_BREAKING_SPACE = re.compile(r"[^\S\u00a0\u2007\u202f]+")  # no-break spaces hold French's marks to their words
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_FULL_WIDTH_MARKS = frozenset("、。，．：；？！…・「」『』（）《》〈〉【】")
_NEVER_FIRST = frozenset(
    "、。，．：；？！…‥・ー～）〕］｝〉》」』】’”゛゜ゝゞ々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ％"
    ".,:;?!)]}%»؟،؛।"
    "\u0e30\u0e32\u0e33\u0e45\u0e46\u0eb0\u0eb2\u0eb3\u0f0b\u0f0d"  # Thai and Lao vowels that follow, Tibetan marks
    "\u104a\u104b\u17d4\u17d5"  # Burmese and Khmer stops
)
_NEVER_LAST = frozenset(
    "（〔［｛〈《「『【‘“([{«¿¡"
    "\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"  # Thai and Lao vowels that lead
    "\u1039\u17d2"  # Burmese and Khmer signs that stack the next letter
)
_WIDE = frozenset("WF")
_WIDTHLESS = frozenset({"Mn", "Me", "Cf"})

_PATIENCE_S, _SLOWEST_S_A_COLUMN = 0.5, 0.3
"""Speech that seems slower than this holds a pause at its end."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`start` and `end` are seconds; pieces in a row never begin before those before them."""

    text: str
    """Without spaces around it, never empty."""
    spaced: bool
    """A space stands before it, where it does not begin a line."""
    start: float
    end: float
    opens_segment: bool = False

    @property
    def width(self) -> int:
        return columns(self.text)


@dataclass(frozen=True, slots=True)
class _Run:
    """A piece, or a part of one where it is not `free` to stand apart from what is before it."""

    piece: Piece
    free: bool


@dataclass(frozen=True, slots=True)
class _Text:
    """A segment's text without its spaces, and the offsets in it that spaces stand before, or where it may be parted
    without one.
    """

    letters: str
    spaced: frozenset[int]
    free: frozenset[int]


def columns(text: str) -> int:
    """How wide a text is: full-width characters count twice, accents and marks not at all."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(char) in _WIDTHLESS else 2 if unicodedata.east_asian_width(char) in _WIDE else 1
        for char in text
    )


def unspaced(char: str) -> bool:
    """Whether the character is of a script written without spaces."""
    return _UNSPACED.match(char) is not None


def pieces_of(segments: Iterable[Segment], earliest_s: float = 0.0) -> list[Piece]:
    """All that the segments say, in order; nothing begins before `earliest_s`."""
    pieces: list[Piece] = []
    for segment in segments:
        for at, run in enumerate(_timed(segment)):
            piece = run.piece
            before = pieces[-1] if pieces else None
            if before is None:
                start = max(piece.start, earliest_s)
                pieces.append(Piece(piece.text, False, start, max(piece.end, start), opens_segment=True))
            elif not at:
                pieces.append(_opening(piece, before))
            elif _holds(before, run):
                joint = " " if piece.spaced else ""
                pieces[-1] = replace(before, text=before.text + joint + piece.text, end=max(before.end, piece.end))
            else:
                pieces.append(_after(before, piece))
    return pieces


def _timed(segment: Segment) -> Iterator[_Run]:
    """By the words' own times where they are the text's words, else by each run's share of the text."""
    text, words = _text(segment), segment.words or ()
    if _BREAKING_SPACE.sub("", "".join(word.word for word in words)) != text.letters:
        yield from _shared(text, 0, len(text.letters), segment.start, segment.end)
        return
    at = 0
    for word in words:
        end = at + len(_BREAKING_SPACE.sub("", word.word))
        yield from _shared(text, at, end, word.start, word.end)
        at = end


def _text(segment: Segment) -> _Text:
    parts = _BREAKING_SPACE.split(segment.text)
    letters, spaced = "".join(parts), frozenset(accumulate(map(len, parts[:-1])))
    starts = phrase_starts(letters, segment.language) if _UNSPACED.search(letters) else ()
    return _Text(letters, spaced, frozenset(at for at in starts if _may_part(letters[at - 1], letters[at])))


def _shared(text: _Text, first: int, last: int, start: float, end: float) -> Iterator[_Run]:
    """Runs of the letters from `first` up to, not including, `last`, each with its share of the time."""
    cuts = [first, *(at for at in range(first + 1, last) if at in text.spaced or at in text.free), last]
    widths = [columns(text.letters[since:until]) + (since in text.spaced) for since, until in pairwise(cuts)]
    whole = max(sum(widths), 1)
    lasting = min(max(end - start, 0.0), _PATIENCE_S + _SLOWEST_S_A_COLUMN * whole)
    times = [start + lasting * passed / whole for passed in accumulate(widths, initial=0)]
    for (since, until), (from_s, to_s) in zip(pairwise(cuts), pairwise(times), strict=True):
        if until > since:
            piece = Piece(text.letters[since:until], since in text.spaced, from_s, to_s)
            yield _Run(piece, since in text.free)


def _may_part(before: str, after: str) -> bool:
    """Whether a line may end between two characters with no space between them."""
    if before in _NEVER_LAST or after in _NEVER_FIRST or unicodedata.category(after) in {"Mn", "Mc", "Me", "Cf"}:
        return False
    if before.isdecimal() or after.isdecimal():
        return False  # a number stays with its unit
    sides = before + after
    return any(unspaced(char) or char in _FULL_WIDTH_MARKS for char in sides)


def _holds(before: Piece, run: _Run) -> bool:
    """Whether nothing may part the two."""
    if run.piece.spaced:  # marks that stand apart, as French has them
        return _only(run.piece.text, _NEVER_FIRST) or _only(before.text, _NEVER_LAST)
    return not run.free


def _only(text: str, marks: frozenset[str]) -> bool:
    return all(char in marks for char in text)


def _opening(piece: Piece, before: Piece) -> Piece:
    """A segment's first piece. Whisper writes a word's space before it, but now and then not at a window's start."""
    apart = piece.spaced or not (unspaced(before.text[-1]) or before.text[-1] in _FULL_WIDTH_MARKS)
    return replace(_after(before, piece), spaced=apart, opens_segment=True)


def _after(before: Piece, piece: Piece) -> Piece:
    start = max(piece.start, before.start)
    return replace(piece, start=start, end=max(piece.end, start))
