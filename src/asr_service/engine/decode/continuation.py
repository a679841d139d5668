"""The speech that a window leaves for the next one, and the limits for the windows of a section. Pure data."""

from dataclasses import dataclass, replace
from typing import Final

from asr_service.audio.chunking import Chunk
from asr_service.engine.decode.text_before import TextBefore

_MAX_CONTINUATIONS: Final = 15
"""Maximum number of windows before the budget is new. On real speech each of these covers several seconds. The limit
bounds the work for audio that makes the model stop after every few tenths of a second."""
_MAX_DECODES: Final = 32
"""How many attempts such windows may have together: at least three windows with all attempts. When they are used up,
the speech that the last window left is not decoded."""
_RENEWED_AFTER_S: Final = 30.0
"""After this much speech the budget is new, so that one hard place costs the speech after it nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits for the next windows of a section."""

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

    def after_window(self, decoded_s: float) -> "Budget":
        """Return the budget after a window of which `decoded_s` seconds need no further window.

        A window that has used the budget up is decoded to its end, and the next one has a new budget.
        """
        if decoded_s >= self.speech_s or not self.allows_continuation:
            return Budget()
        return replace(self, continuations=self.continuations - 1, speech_s=self.speech_s - decoded_s)


@dataclass(frozen=True, slots=True)
class Rest:
    """The speech of a section that a window leaves, and the inputs of the next window."""

    chunk: Chunk
    language: str
    text_before: TextBefore
    budget: Budget
