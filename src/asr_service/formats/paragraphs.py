"""Divides a transcript into paragraphs, for readers. Pure functions.

A paragraph ends at a pause after a sentence, and where another speaker begins. The longer a paragraph is, the shorter
is the pause that ends it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from asr_service.formats.subtitles.clauses import ends_sentence
from asr_service.formats.subtitles.pieces import columns
from asr_service.transcript import Segment

_PAUSE_MS: Final = 1000
"""Minimum pause between segments. The silence is longer: each segment includes up to 0.4 s of it as padding."""
_LONG_PAUSE_MS: Final = 3000
"""A pause of this length ends a paragraph even within a sentence."""
_SHORT_PAUSE_MS: Final = 200
_LONGEST_WORD: Final = 100
"""Characters of the last word that show whether it ends a sentence."""
_SHORT: Final = 100
"""Columns of text below which only a pause of twice the length ends a paragraph."""
_LONG: Final = 500
"""Columns of text, about 80 words, after which a short pause is enough. A full-width character has two columns."""
_TOO_LONG: Final = 1000
"""Columns of text after which the end of a sentence is enough."""


def paragraphs(segments: Sequence[Segment]) -> Iterator[str]:
    """Yield the text of each paragraph, without spaces around it. Together they are the whole text."""
    texts: list[str] = []
    width, end = 0, ""
    for segment, after in pairwise([*segments, None]):
        if segment is not None:
            texts.append(segment.text)
            width += columns(segment.text)
            end = (end + segment.text)[-_LONGEST_WORD:]
        if segment is None or after is None or _is_end(end, width, segment, after):
            text = "".join(texts).strip()
            texts.clear()
            width, end = 0, ""
            if text:
                yield text


def _is_end(end: str, width: int, segment: Segment, after: Segment) -> bool:
    """Return True if a paragraph of this width, with this end of its text, ends between the segments."""
    if segment.speaker != after.speaker:
        return True
    # In whole milliseconds, as JSON has them: a transcript that was received as JSON has the same paragraphs.
    pause_ms = round(after.start * 1000) - round(segment.end * 1000)
    if pause_ms >= _LONG_PAUSE_MS:
        return True
    words = end.split()
    if not (words and ends_sentence(words[-1])) or after.text.strip()[:1].islower():
        return False
    return width >= _TOO_LONG or pause_ms >= _needed_ms(width)


def _needed_ms(width: int) -> int:
    if width < _SHORT:
        return 2 * _PAUSE_MS
    return _PAUSE_MS if width < _LONG else _SHORT_PAUSE_MS
