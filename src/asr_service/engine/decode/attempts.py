"""The attempts to decode a window: a fixed list, of which each is made only if the one before it failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from asr_service.engine.decode.context import LONGER_CONTEXT, MAX_SHORT_CONTEXT
from asr_service.engine.decode.hypothesis import FallbackReason, Hypothesis, accepted, faultless
from asr_service.engine.options import DecodingOptions

_REPETITION_PENALTY: Final = 1.2
"""Ends loops that sampling ends only at temperatures at which the model makes many errors. It damages text that is
really spoken again and again, so it is used for loops only."""


class Step(Enum):
    """What an attempt changes against the one before it."""

    FIRST = auto()
    NO_TEXT_BEFORE = auto()
    LONGER_CONTEXT = auto()
    FULL_CONTEXT = auto()
    REPETITION_PENALTY = auto()
    TEMPERATURE = auto()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to decode a window."""

    step: Step
    temperature: float
    repetition_penalty: float = 1.0

    def reason(self, tried: Sequence[Hypothesis]) -> str | None:
        """Return why this attempt follows those `tried`, a label of `asr_fallbacks_total`; None if it is not needed."""
        if self.step is Step.NO_TEXT_BEFORE:
            return "text_before" if tried[-1].has_fault else None
        if self.step is Step.LONGER_CONTEXT:
            return "doubtful" if tried[-1].is_doubtful else None
        if self.step is Step.FULL_CONTEXT:
            return "full_context" if tried[-1].has_fault and not faultless(tried) else None
        if accepted(tried):
            return None
        if self.step is Step.REPETITION_PENALTY:
            return "repetition_penalty" if tried[-1].is_loop else None
        return tried[-1].fallback_reason


FALLBACK_REASONS: Final = ("text_before", "doubtful", "full_context", "repetition_penalty", *FallbackReason)
"""Every value that `Attempt.reason` can return."""


def attempts(options: DecodingOptions, context_frames: int, *, has_text_before: bool = False) -> list[Attempt]:
    """List the attempts for a window that is encoded with `context_frames` first.

    The order: the first temperature as it is, without the text of earlier windows in the prompt, with a longer context,
    at full context, with a repetition penalty, then higher temperatures. Only the first attempt has text of earlier
    windows in its prompt.
    A request with a temperature of its own above 0 has no other temperature and no penalty. A translation has no
    longer context: translations are less likely than transcripts, so nearly all would be doubtful, and it does not
    improve them.
    """
    first, *higher = options.temperatures
    listed = [Attempt(Step.FIRST, first)]
    if has_text_before:
        listed.append(Attempt(Step.NO_TEXT_BEFORE, first))
    if context_frames < LONGER_CONTEXT and options.task == "transcribe":
        listed.append(Attempt(Step.LONGER_CONTEXT, first))
    if context_frames < MAX_SHORT_CONTEXT:
        listed.append(Attempt(Step.FULL_CONTEXT, first))
    if higher:
        listed.append(Attempt(Step.REPETITION_PENALTY, first, _REPETITION_PENALTY))
    return [*listed, *(Attempt(Step.TEMPERATURE, temperature) for temperature in higher)]
