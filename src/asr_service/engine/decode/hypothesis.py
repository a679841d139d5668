"""What the model made of a window in one try, and what Whisper's rules say of it. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from asr_service.engine.decode.rules import Verdict, compression_ratio, judge, repetition
from asr_service.engine.decode.segments import TimedTokens, WindowTokens, split_at_timestamps
from asr_service.engine.model.protocol import Generation
from asr_service.engine.model.vocabulary import Vocabulary

_SHORTEST_REST_S = 1.0
"""Less than this, after the place where the model broke off, is not worth a window of its own."""
_LEAST_PROGRESS_S = 0.2
"""The rest of a window that broke off before this would be the same window again."""
_LONGEST_REPEAT_S = 12.0
"""A rest gets the segment before it into its window where that and the rest are no longer than this together."""

_LONGEST_OVERHANG_S = 2.0
"""How far past the speech a last segment may end: now and then the model rounds up to a second, or two for a clip of
0.3 s."""
_MOST_CHARACTERS_A_SECOND = 30
_MORE_CHARACTERS = 25
"""Segments end too early by some tenths of a second. Of 650 windows heard right the hastiest had eight characters over
thirty a second; two that repeated what was said before had 59 and 87 over it."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    generation: Generation
    temperature: float
    compression_ratio: float
    verdict: Verdict
    window: WindowTokens
    speech_s: float
    """Of the window, its padding left out."""
    is_hasty: bool
    """A segment holds more than anyone says in its time: the model repeats itself, too little to be told by zlib."""
    is_cut: bool
    """The model wrote as many tokens as it may, and did not end by itself."""

    @property
    def is_late(self) -> bool:
        """The model wrote on after the speech had ended."""
        return any(
            segment.start >= self.speech_s or segment.end > self.speech_s + _LONGEST_OVERHANG_S
            for segment in self.window.parts
        )

    @property
    def is_loop(self) -> bool:
        """The model went round in a circle. What is truly said again and again takes its time, and ends."""
        return self.verdict is Verdict.REPETITIVE and (self.is_hasty or self.is_cut)

    @property
    def fault(self) -> str | None:
        """Why it is to be decoded another way, a label of `asr_fallbacks_total`; None where the rules are content."""
        if self.verdict is Verdict.GOOD:
            return "speech_rate" if self.is_hasty else None
        return None if self.verdict is Verdict.SILENT else self.verdict

    @property
    def is_doubtful(self) -> bool:
        """A longer context may mend it."""
        return self.is_late or self.fault is not None

    @property
    def broke_off(self) -> bool:
        """The model left a rest that is worth a window of its own."""
        return _LEAST_PROGRESS_S <= self.window.consumed_s < self.speech_s - _SHORTEST_REST_S


def judged(
    generation: Generation, temperature: float, vocabulary: Vocabulary, speech_s: float, max_output_tokens: int
) -> Hypothesis:
    """Cut a generation into segments and judge it, by what begins within the speech: the rest is not kept."""
    window = split_at_timestamps(generation.tokens, vocabulary.timestamp_begin, speech_s)
    spoken = [part for part in window.parts if part.start < speech_s]
    text = vocabulary.text([token for part in spoken for token in part.tokens])
    cut = len(generation.tokens) >= max_output_tokens
    # A text that ends is compared by its letters. Of one that does not end, each byte counts against it.
    repeated = max(repetition(text), compression_ratio(text)) if cut else repetition(text)
    return Hypothesis(
        generation,
        temperature,
        compression_ratio(vocabulary.text(generation.tokens)),
        judge(generation, repeated),
        window,
        speech_s,
        is_hasty=any(_is_hasty(part, vocabulary.text(part.tokens), speech_s) for part in spoken),
        is_cut=cut,
    )


def _is_hasty(part: TimedTokens, text: str, speech_s: float) -> bool:
    return len(text) > _MOST_CHARACTERS_A_SECOND * (min(part.end, speech_s) - part.start) + _MORE_CHARACTERS


def best_of(tried: Sequence[Hypothesis]) -> Hypothesis:
    """The last if the rules are content with it, else the likeliest of those that do not repeat themselves."""
    if tried[-1].fault is None:
        return tried[-1]
    varied = [each for each in tried if each.verdict is not Verdict.REPETITIVE and not each.is_hasty]
    return max(varied or tried, key=lambda each: each.generation.avg_logprob)


def spoken_parts(best: Hypothesis, vocabulary: Vocabulary) -> list[TimedTokens]:
    """What holds text, lasts some time and begins within the speech; the unfinished segment if it ends the window."""
    speech_s = best.speech_s
    return [
        replace(part, end=min(part.end, speech_s))
        for part in (best.window.segments if best.broke_off else best.window.parts)
        if part.start < min(part.end, speech_s) and vocabulary.text(part.tokens).strip()
    ]


def kept_of(parts: Sequence[TimedTokens], best: Hypothesis) -> tuple[int, float]:
    """Of a window that broke off: how many parts stand, and the seconds where the window of its rest begins.

    A few seconds by themselves are often misheard, for want of what goes before: with a short rest the last part is
    transcribed once more.
    """
    if len(parts) > 1:
        begins_s = parts[-1].start
        if begins_s >= _SHORTEST_REST_S and best.speech_s - begins_s <= _LONGEST_REPEAT_S:
            return len(parts) - 1, begins_s
    return len(parts), best.window.consumed_s
