"""Splits segments into pieces: parts of text that a line break never splits, each with its time. Pure functions.

A piece is a word, or a phrase in a script without spaces (phrases.py). A character that may not begin or end a line
(https://www.w3.org/TR/jlreq/#line_breaking, UAX #14) is part of the neighbouring piece.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from asr_service.formats.subtitles.phrases import phrase_starts
from asr_service.transcript import Segment, Transcript

_BREAKING_SPACE = re.compile(r"[^\S\u00a0\u2007\u202f]+")  # no-break spaces tie French marks to their words
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_FULL_WIDTH_MARKS = frozenset("、。，．：；？！…・「」『』（）《》〈〉【】")
_NEVER_FIRST = frozenset(
    "、。，．：；？！…‥・ー～）〕］｝〉》」』】’”゛゜ゝゞ々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ％"
    ".,:;?!)]}%»؟،؛।"
    "\u0e30\u0e32\u0e33\u0e45\u0e46\u0eb0\u0eb2\u0eb3\u0f0b\u0f0d"  # later Thai and Lao vowels, Tibetan marks
    "\u104a\u104b\u17d4\u17d5"  # Burmese and Khmer stops
)
_NEVER_LAST = frozenset(
    "（〔［｛〈《「『【‘“([{«¿¡"
    "\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"  # Thai and Lao vowels that come first
    "\u1039\u17d2"  # Burmese and Khmer signs that stack the next letter
)
_WIDE = frozenset("WF")
_WIDTHLESS = frozenset({"Mn", "Me", "Cf"})
_MARKS = frozenset({"Mn", "Mc", "Me", "Cf"})
"""Categories of characters that belong to the character before them."""
_SUFFIX = re.compile(r"[-'’]\w")
"""The beginning of a text that continues the word before it, such as `'s` and `-like`."""

_MAX_S_BASE, _MAX_S_PER_COLUMN = 0.5, 0.3
"""The longest time that a text takes to speak. If its time is longer, the rest is a pause after it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the text that stays on one line. No piece starts before the one before it. Times are in seconds."""

    text: str
    """Never empty, and without spaces around it."""
    spaced: bool
    """True if a space separates the piece from the one before it on the same line."""
    start: float
    end: float
    opens_segment: bool = False

    @property
    def width(self) -> int:
        return columns(self.text)


@dataclass(frozen=True, slots=True)
class _Run:
    """A piece, or a later part of one."""

    piece: Piece
    free: bool
    """True if a line may break before it though no space is there."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A segment's text without spaces. Offsets are into `letters`."""

    letters: str
    spaced: frozenset[int]
    """The offsets that had a space before them."""
    free: frozenset[int]
    """The offsets where a line may break without a space."""


def columns(text: str) -> int:
    """Return the width of a text: full-width characters count 2, combining marks 0, all others 1."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(char) in _WIDTHLESS else 2 if unicodedata.east_asian_width(char) in _WIDE else 1
        for char in text
    )


def unspaced(char: str) -> bool:
    """Return True if the character belongs to a script without spaces."""
    return _UNSPACED.match(char) is not None


def are_spaced(before: str, after: str) -> bool:
    """Return True if a space is written between two parts of a text. The parts are not empty."""
    end, begin = before[-1], after[0]
    if end.isspace() or begin.isspace() or end in _NEVER_LAST or begin in _NEVER_FIRST:
        return False
    if any(unspaced(char) or char in _FULL_WIDTH_MARKS for char in (end, begin)):
        return False
    return unicodedata.category(begin) not in _MARKS and not _SUFFIX.match(after)


def count_breaks(transcript: Transcript) -> int:
    """Return about how often a line may break. Characters of a script without spaces are two columns wide."""
    n_unspaced = len(_UNSPACED.findall(transcript.text))
    return len(transcript.segments) + len(transcript.text.split()) + n_unspaced // 2


def pieces_of(segments: Iterable[Segment], earliest_s: float = 0.0) -> list[Piece]:
    """Return the pieces of the segments, in order. None starts before `earliest_s`."""
    pieces: list[Piece] = []
    for segment in segments:
        for at, run in enumerate(_timed(segment)):
            piece = run.piece
            before = pieces[-1] if pieces else None
            if before is None:
                start = max(piece.start, earliest_s)
                pieces.append(Piece(piece.text, False, start, max(piece.end, start), opens_segment=True))
            elif not at:
                pieces.append(replace(_after(before, piece), opens_segment=True))
            elif _holds(before, run):
                joint = " " if piece.spaced else ""
                pieces[-1] = replace(before, text=before.text + joint + piece.text, end=max(before.end, piece.end))
            else:
                pieces.append(_after(before, piece))
    return pieces


def _timed(segment: Segment) -> Iterator[_Run]:
    """Yield the text as runs, timed by its words if they match the text, else in proportion to the text."""
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
    """Yield runs of `letters[first:last]`, and divide the time between them in proportion to their width."""
    cuts = [first, *(at for at in range(first + 1, last) if at in text.spaced or at in text.free), last]
    widths = [columns(text.letters[since:until]) + (since in text.spaced) for since, until in pairwise(cuts)]
    whole = max(sum(widths), 1)
    lasting = min(max(end - start, 0.0), _MAX_S_BASE + _MAX_S_PER_COLUMN * whole)
    times = [start + lasting * passed / whole for passed in accumulate(widths, initial=0)]
    for (since, until), (from_s, to_s) in zip(pairwise(cuts), pairwise(times), strict=True):
        if until > since:
            piece = Piece(text.letters[since:until], since in text.spaced, from_s, to_s)
            yield _Run(piece, since in text.free)


def _may_part(before: str, after: str) -> bool:
    """Return True if a line may break between two characters that have no space between them."""
    if before in _NEVER_LAST or after in _NEVER_FIRST or unicodedata.category(after) in _MARKS:
        return False
    if before.isdecimal() or after.isdecimal():
        return False  # keep a number with its unit
    sides = before + after
    return any(unspaced(char) or char in _FULL_WIDTH_MARKS for char in sides)


def _holds(before: Piece, run: _Run) -> bool:
    """Return True if no line may break between the two."""
    if run.piece.spaced:  # marks with a space around them, as in French
        return _only(run.piece.text, _NEVER_FIRST) or _only(before.text, _NEVER_LAST)
    return not run.free


def _only(text: str, marks: frozenset[str]) -> bool:
    return all(char in marks for char in text)


def _after(before: Piece, piece: Piece) -> Piece:
    start = max(piece.start, before.start)
    return replace(piece, start=start, end=max(piece.end, start))
