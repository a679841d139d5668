"""Writes the Chinese text of a recording in one script.

Whisper writes Chinese in Simplified or Traditional characters, and chooses in each window, so one recording may
contain both. A transcript has the script that the request asks for, or else the one of its prompt, or else the one in
which the model began.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from itertools import accumulate, pairwise
from typing import Final

import opencc

from asr_service.engine.options import DecodingOptions
from asr_service.languages import CHINESE, ChineseScript, written_language
from asr_service.transcript import Segment

_OF_SIMPLIFIED: Final = {ChineseScript.TRADITIONAL: ("s2tw",), ChineseScript.HONG_KONG: ("s2hk",)}
_OF_TRADITIONAL: Final = {ChineseScript.TRADITIONAL: ("t2tw",), ChineseScript.HONG_KONG: ("tw2t", "t2hk")}
"""Configurations of OpenCC. They change characters and no words: the text has the words that were spoken."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """How many characters of a text exist in one script only."""

    simplified: int
    traditional: int

    @property
    def script(self) -> ChineseScript | None:
        if self.simplified == self.traditional:
            return None
        return ChineseScript.SIMPLIFIED if self.simplified > self.traditional else ChineseScript.TRADITIONAL


class ScriptConverter:
    """Converts the segments of one recording, in their order. Segments that were returned stay as they are."""

    def __init__(self, options: DecodingOptions, earlier: Iterable[Segment] = ()) -> None:
        """Create a converter for a request. `earlier` are its segments that are already known."""
        self._task = options.task
        self._is_requested = options.script is not None
        prompt = f"{options.initial_prompt or ''}{options.hotwords or ''}"
        self._script = options.script or _evidence(prompt).script or _evidence(self._text(earlier)).script

    def convert(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return the segments that follow, in the script of the recording.

        If neither the request nor its prompt determines the script, the first segments do that have more characters of
        one script only than of the other.
        """
        found = _evidence(self._text(segments))
        self._script = self._script or found.script
        steps = self._steps(found)
        return [_converted(each, steps) if steps and self._is_chinese(each) else each for each in segments]

    def _steps(self, found: _Evidence) -> tuple[str, ...]:
        """Return the conversions for text with this evidence.

        Characters such as 后 and 里 exist in both scripts, with more meanings in Simplified text. So text that is
        Traditional is not converted as if it were Simplified.
        """
        if self._script is None:
            return ()
        if self._script is ChineseScript.SIMPLIFIED:
            return ("t2s",)
        if found.traditional and not found.simplified:
            return _OF_TRADITIONAL[self._script] if self._is_requested else ()
        return _OF_SIMPLIFIED[self._script] if found.simplified or self._is_requested else ()

    def _text(self, segments: Iterable[Segment]) -> str:
        return "".join(segment.text for segment in segments if self._is_chinese(segment))

    def _is_chinese(self, segment: Segment) -> bool:
        return written_language(segment.language, self._task) in CHINESE


def _evidence(text: str) -> _Evidence:
    simplified, traditional = (_known(text, encoding) for encoding in ("gb2312", "big5"))
    return _Evidence(
        simplified=sum(letter in simplified and letter not in traditional for letter in text),
        traditional=sum(letter in traditional and letter not in simplified for letter in text),
    )


def _known(text: str, encoding: str) -> frozenset[str]:
    """Return the letters of a text that an encoding has: GB 2312 is for Simplified Chinese, Big5 for Traditional."""
    return frozenset(text.encode(encoding, "ignore").decode(encoding))


def _converted(segment: Segment, steps: Sequence[str]) -> Segment:
    """Convert the text and its words alike. The characters around a word count, so the text is converted as a whole."""
    text = _convert(segment.text, steps)
    if segment.words is None:
        return replace(segment, text=text)
    pieces = [word.word for word in segment.words]
    if "".join(pieces) == segment.text and len(text) == len(segment.text):
        edges = accumulate(map(len, pieces), initial=0)
        pieces = [text[start:end] for start, end in pairwise(edges)]
    else:
        pieces = [_convert(piece, steps) for piece in pieces]
        text = "".join(pieces)
    words = tuple(replace(word, word=piece) for word, piece in zip(segment.words, pieces, strict=True))
    return replace(segment, text=text, words=words)


def _convert(text: str, steps: Sequence[str]) -> str:
    return reduce(lambda converted, step: _converter(step).convert(converted), steps, text)


@cache
def _converter(configuration: str) -> opencc.OpenCC:
    """Load a converter, which takes up to 0.1 s and 40 MB, at its first use."""
    return opencc.OpenCC(configuration)
