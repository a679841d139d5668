"""The result of one attempt to decode a window, and the rules that accept or reject it. Pure functions."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from asr_service.engine.decode.doubled_text import doubled_letters
from asr_service.engine.decode.repetition import compression_ratio, repetition
from asr_service.engine.decode.segments import TimedTokens, WindowTokens, split_at_timestamps
from asr_service.engine.model.protocol import Generation
from asr_service.engine.model.vocabulary import Vocabulary

MAX_COMPRESSION_RATIO: Final = 2.4
MIN_AVG_LOGPROB: Final = -1.0
_MAX_NO_SPEECH_PROB: Final = 0.6
"""These three are the defaults of https://github.com/openai/whisper/blob/main/whisper/transcribe.py."""

_SURE_AVG_LOGPROB: Final = -0.6
"""Speech with a less likely text from a short context is decoded again with a longer one. Hard speech needs it, and its
texts are less likely: docs/adr/0003-short-encoder-context.md has the measurements."""
_MAX_DOUBTFUL_S: Final = 12.0
"""Longer speech has a context of at least 18 s. There a longer one changed nothing."""

_MAX_CHARACTERS_PER_S: Final = 30
_EXTRA_CHARACTERS: Final = 25
"""A segment may have this many characters more, since segments end some tenths of a second too early. Of 650 windows
that were transcribed correctly, the fastest had 8 characters above 30 a second. Two windows that repeated earlier text
had 59 and 87."""

_MAX_DOUBLED_LETTERS_PER_S: Final = 22
"""Maximum letters and digits a second, both copies together, of a text that appears twice. Fast speech has about 20."""

_MAX_COPY_CHANGES: Final = 10
"""How many characters longer than its copy a text before the window may be."""

_MAX_OVERRUN_S: Final = 2.0
"""How far after the speech the last segment may end. Now and then the model rounds an end up to the next second, or by
two seconds for a clip of 0.3 s."""

_MIN_REST_S: Final = 1.0
"""A shorter rest, after the point where the model stopped, gets no window of its own. If more speech follows, the next
window begins with the rest."""
_MAX_SKIPPED_S: Final = 5.0
"""If speech follows the text for longer than this, the model left something out. With the text of other speech in the
prompt it does so more often: of 30 windows of unrelated sentences, 5 lacked a sentence or more, of 120 windows of
single recordings none."""
_MIN_PROGRESS_S: Final = 0.2
"""If the model stopped before this point, the window of the rest would be the same window again."""


class FallbackReason(StrEnum):
    """Why a window is decoded again: the rule that rejected the hypothesis.

    The values are labels of the metric `asr_fallbacks_total`.
    """

    COMPRESSION_RATIO = "compression_ratio"
    LOW_LOGPROB = "low_logprob"
    SPEECH_RATE = "speech_rate"
    DOUBLED_TEXT = "doubled_text"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The result of one attempt, cut into segments and measured."""

    generation: Generation
    temperature: float
    window: WindowTokens
    speech_s: float
    """Seconds of speech in the window, without the padding."""
    compression_ratio: float
    """The compression ratio of the whole text, which the answer contains."""
    repetition: float
    """The compression ratio that the rules use: of the text that begins within the speech, with one byte a letter."""
    exceeds_speech_rate: bool
    """True if a segment has more characters than its duration allows.

    Catches repetition that is too short for the compression ratio.
    """
    doubled_letters: int
    """Letters of the longest sequence that the text has twice in a row; 0 if there is none, or if it has no effect."""
    has_prompt: bool
    """True if the decoder began with text: a prompt, hotwords or the text of earlier windows."""
    hit_token_limit: bool
    """True if the model reached its token limit, so that it did not end the text by itself."""
    skips_speech: bool = False
    """True if the prompt had the text before the window, and this text ends long before the speech."""

    @property
    def is_silent(self) -> bool:
        """True if the window holds no speech by Whisper's rule: an unlikely text and a high no-speech probability."""
        return self.generation.avg_logprob < MIN_AVG_LOGPROB and self.generation.no_speech_prob > _MAX_NO_SPEECH_PROB

    @property
    def fallback_reason(self) -> FallbackReason | None:
        """The first rule that rejects the hypothesis; None if it is accepted or silent."""
        if self.is_silent:
            return None
        return next((reason for reason, rejects in _RULES if rejects(self)), None)

    @property
    def is_loop(self) -> bool:
        """True if the text repeats itself and is longer than its duration allows, or reaches the token limit.

        Repetition that is really spoken has the pace of speech, and the model ends its text.
        """
        is_repetitive = self.fallback_reason is FallbackReason.COMPRESSION_RATIO
        return is_repetitive and (self.exceeds_speech_rate or self.hit_token_limit)

    @property
    def overruns_speech(self) -> bool:
        """True if the model continued after the speech had ended."""
        return any(
            segment.start >= self.speech_s or segment.end > self.speech_s + _MAX_OVERRUN_S
            for segment in self.window.parts
        )

    @property
    def is_doubled_too_fast(self) -> bool:
        """True if the text has a sequence twice, and the speech is too short for that."""
        return 2 * self.doubled_letters > _MAX_DOUBLED_LETTERS_PER_S * self.speech_s

    @property
    def is_doubtful(self) -> bool:
        """True if the text has no fault, but the model is so unsure of it that a longer context may change it."""
        is_sure = self.is_silent or self.generation.avg_logprob >= _SURE_AVG_LOGPROB
        return not self.has_fault and self.speech_s < _MAX_DOUBTFUL_S and not is_sure

    @property
    def has_fault(self) -> bool:
        """True if the hypothesis has a fault that a full context may prevent.

        With a prompt, a text that appears twice is decoded once more at any speech rate. What was really spoken twice
        is kept. Without a prompt the model seldom writes a text twice, and then it is too fast.
        """
        return self.skips_speech or self._has_other_fault

    @property
    def _has_other_fault(self) -> bool:
        is_doubled = self.has_prompt and self.doubled_letters > 0
        return self.overruns_speech or is_doubled or self.fallback_reason is not None

    def skips_as_much_as(self, other: "Hypothesis") -> bool:
        """Return True if the only fault of this text is that it leaves speech out, and `other` leaves as much out."""
        is_behind = self.window.consumed_s < other.window.consumed_s - _MIN_REST_S
        return self.skips_speech and not self._has_other_fault and not self.is_silent and not is_behind

    def decoded_s(self, *, has_speech_after: bool) -> float:
        """Return the second at which the next window begins: the end of the speech, or where the model stopped."""
        stopped_s = self.window.consumed_s
        latest_s = self.speech_s - (0.0 if has_speech_after else _MIN_REST_S)
        return stopped_s if _MIN_PROGRESS_S <= stopped_s < latest_s and not self.is_silent else self.speech_s


_RULES: Final[tuple[tuple[FallbackReason, Callable[[Hypothesis], bool]], ...]] = (
    (FallbackReason.COMPRESSION_RATIO, lambda found: found.repetition > MAX_COMPRESSION_RATIO),
    (FallbackReason.LOW_LOGPROB, lambda found: found.generation.avg_logprob < MIN_AVG_LOGPROB),
    (FallbackReason.SPEECH_RATE, lambda found: found.exceeds_speech_rate),
    (FallbackReason.DOUBLED_TEXT, lambda found: found.is_doubled_too_fast),
)
"""The first two are Whisper's rules, in Whisper's order; the others are ours."""


def evaluate(
    generation: Generation,
    temperature: float,
    vocabulary: Vocabulary,
    speech_s: float,
    max_output_tokens: int,
    text_before: str = "",
    *,
    has_prompt: bool = False,
    is_all_speech: bool = False,
) -> Hypothesis:
    """Cut a generation into segments and measure it.

    The rules measure only segments that begin within the `speech_s` seconds of speech, because the others are dropped.
    `text_before` is the text of earlier windows in the prompt. A text that repeats its end counts as one that appears
    twice. `has_prompt` says that the decoder began with any text. `is_all_speech` says that there is speech up to the
    end of the window, so that the text must reach it.
    """
    window = split_at_timestamps(generation.tokens, vocabulary.timestamp_begin, speech_s)
    within_speech = [part for part in window.parts if part.start < speech_s]
    end_s = max((part.end for part in within_speech if _says_something(vocabulary.text(part.tokens))), default=0.0)
    leaves_speech = is_all_speech and window.unfinished is None and end_s < speech_s - _MAX_SKIPPED_S
    if leaves_speech:
        window = replace(window, consumed_s=end_s)
    text = vocabulary.text([token for part in within_speech for token in part.tokens])
    hit_token_limit = len(generation.tokens) >= max_output_tokens
    # Text that ended by itself is measured by letters only. A loop without end is measured by bytes too: where a letter
    # takes several tokens, the token limit leaves space for few repetitions.
    measured = max(repetition(text), compression_ratio(text)) if hit_token_limit else repetition(text)
    return Hypothesis(
        generation,
        temperature,
        window,
        speech_s,
        compression_ratio=compression_ratio(vocabulary.text(generation.tokens)),
        repetition=measured,
        exceeds_speech_rate=any(_is_too_fast(part, vocabulary.text(part.tokens), speech_s) for part in within_speech),
        doubled_letters=_doubled_letters(text, text_before, speech_s, has_prompt=has_prompt),
        has_prompt=has_prompt,
        hit_token_limit=hit_token_limit,
        skips_speech=leaves_speech and bool(text_before),
    )


def _doubled_letters(text: str, text_before: str, speech_s: float, *, has_prompt: bool) -> int:
    """Return `doubled_letters` of a text with the end of the text before it. Without a prompt, only of long sequences.

    Shorter ones have no effect there, and the search takes 8 ms for 300 letters.
    """
    shortest = 0 if has_prompt else int(_MAX_DOUBLED_LETTERS_PER_S * speech_s / 2) + 1
    before = text_before[-len(text) - _MAX_COPY_CHANGES :]
    return doubled_letters(f"{before}{text}" if text else "", shortest, spans_windows=bool(before))


def _is_too_fast(part: TimedTokens, text: str, speech_s: float) -> bool:
    return len(text) > _MAX_CHARACTERS_PER_S * (min(part.end, speech_s) - part.start) + _EXTRA_CHARACTERS


def accepted(tried: Sequence[Hypothesis]) -> Hypothesis | None:
    """Return the most likely hypothesis without a fault, else the last one if the rules accept it, else None.

    A doubtful text of a short context is often right where that of a longer one is wrong, and the other way round. A
    text that ends long before the speech has no fault if none of the faultless ones ends later. If the last attempt
    detects silence, the window is silent.
    """
    last = tried[-1]
    if not last.is_silent and (found := faultless(tried)):
        latest = max(found, key=lambda each: each.window.consumed_s)
        found += [each for each in tried if each.skips_as_much_as(latest)]
        return max(found, key=lambda each: each.generation.avg_logprob)
    return last if last.fallback_reason is None else None


def faultless(tried: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Return the hypotheses that have text and no fault."""
    return [each for each in tried if not each.has_fault and not each.is_silent]


def best_of(tried: Sequence[Hypothesis]) -> Hypothesis:
    """Return the accepted hypothesis; without one, the most likely one that does not repeat itself.

    If all repeat themselves, the most likely of all.
    """
    if found := accepted(tried):
        return found
    usable = [
        each
        for each in tried
        if each.fallback_reason is not FallbackReason.COMPRESSION_RATIO
        and not each.exceeds_speech_rate
        and not each.is_doubled_too_fast
    ]
    return max(usable or tried, key=lambda each: each.generation.avg_logprob)


def speech_parts(best: Hypothesis, vocabulary: Vocabulary, end_s: float) -> list[TimedTokens]:
    """Return the segments that say something, last some time and begin before `end_s`."""
    if best.is_silent:
        return []
    return [
        replace(part, end=min(part.end, end_s))
        for part in best.window.parts
        if part.start < min(part.end, end_s) and _says_something(vocabulary.text(part.tokens))
    ]


def _says_something(text: str) -> bool:
    """Return False if the text has only punctuation and spaces, which the model writes for music and noise."""
    return any(unicodedata.category(character)[0] not in "PZC" for character in text)
