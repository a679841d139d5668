"""Where the text of a window is continued, and which of its segments are final. Pure data and functions.

A section is decoded window by window. A window may leave a rest: its text ends before its speech, or more speech
follows it. The window of the rest may contain the last segments of this one once more, and then normally replaces them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from asr_service.audio.chunking import Chunk
from asr_service.engine.decode.text_before import TextBefore
from asr_service.transcript import Segment

_MAX_CONTINUATIONS: Final = 15
"""Maximum number of windows in a row that begin where the model stopped early. On real speech each of these covers
several seconds; the limit bounds the work for audio that makes the model stop after every few tenths of a second."""
_MAX_DECODES: Final = 32
"""How many attempts such windows may have together: at least three windows with all attempts. When they are used up,
the speech that the last window left is not decoded."""
_RENEWED_AFTER_S: Final = 30.0
"""After this much speech the budget is new, so that one hard place costs the speech after it nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the next windows may cost, if each begins where the model stopped early in the window before."""

    decodes: int = _MAX_DECODES
    continuations: int = _MAX_CONTINUATIONS
    speech_s: float = _RENEWED_AFTER_S
    """Seconds of speech after which the budget is new."""

    @property
    def n_continued(self) -> int:
        return _MAX_CONTINUATIONS - self.continuations

    @property
    def allows_continuation(self) -> bool:
        return self.decodes > 0 and self.continuations > 0

    def after_attempts(self, n_decodes: int) -> "Budget":
        return replace(self, decodes=self.decodes - n_decodes)

    def after_continuation(self, decoded_s: float) -> "Budget":
        """Return the budget after a window of which `decoded_s` seconds need no further window."""
        if decoded_s >= self.speech_s:
            return Budget()
        return replace(self, continuations=self.continuations - 1, speech_s=self.speech_s - decoded_s)


@dataclass(frozen=True, slots=True)
class Rest:
    """The speech of a section after the final segments of a window, and the inputs of the window for it."""

    chunk: Chunk
    language: str
    text_before: TextBefore
    budget: Budget
    is_early: bool
    """True if the model stopped before the end of the window."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of one window."""

    kept: list[Segment]
    doubtful: list[Segment] = field(default_factory=list)
    """Segments that the window of the rest includes once more, and normally replaces."""
    rest: Rest | None = None

    @property
    def segments(self) -> list[Segment]:
        return self.kept + self.doubtful

    @property
    def end(self) -> float:
        return self.segments[-1].end if self.segments else 0.0


def settle(held: Sequence[Decoded]) -> tuple[list[Segment], list[Decoded]]:
    """Return the segments that are final, and the results that are still held.

    `held` are the results of windows, of which each is followed by the window of its rest. The rest replaces the
    doubtful segments before it, unless it has less text: it is empty or ends before they do. That is known when its
    text reaches beyond them, or when it has all the speech of its window: the model did not stop early, and no segment
    of it is doubtful.
    """
    *earlier, last = held
    continues_within = last.rest is not None and (last.rest.is_early or bool(last.doubtful))
    if continues_within and any(each.doubtful and each.end > last.end for each in earlier):
        return [], list(held)
    final, known = last.kept, last.segments
    is_replaced = False
    for each in reversed(earlier):
        if each.doubtful and (not known or known[-1].end < each.end):
            final = known = each.doubtful
            is_replaced = True
        final, known = each.kept + final, each.kept + known
    return final, [replace(last, kept=[])] if last.doubtful and not is_replaced else []
