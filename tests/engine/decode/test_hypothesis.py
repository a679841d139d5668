"""The rules that accept or reject the result of an attempt."""

import pytest

from asr_service.engine.decode.hypothesis import FallbackReason, Hypothesis
from asr_service.engine.decode.segments import WindowTokens
from asr_service.engine.model.protocol import Generation


@pytest.mark.parametrize(
    ("avg_logprob", "no_speech_prob", "repeated", "reason", "is_silent"),
    [
        (-0.99, 0.1, 2.39, None, False),
        (-0.99, 0.9, 1.5, None, False),
        (-0.3, 0.1, 2.41, FallbackReason.COMPRESSION_RATIO, False),
        (-1.01, 0.1, 2.41, FallbackReason.COMPRESSION_RATIO, False),
        (-1.01, 0.59, 1.5, FallbackReason.LOW_LOGPROB, False),
        (-1.01, 0.61, 1.5, None, True),
        (-1.01, 0.61, 2.41, None, True),
    ],
)
def test_whispers_rules_have_whispers_thresholds(
    avg_logprob: float, no_speech_prob: float, repeated: float, reason: FallbackReason | None, is_silent: bool
):
    """Compression ratio 2.4, mean log-probability -1.0, no-speech probability 0.6."""
    found = hypothesis(avg_logprob, no_speech_prob, repeated)
    assert (found.fallback_reason, found.is_silent) == (reason, is_silent)


@pytest.mark.parametrize(
    ("avg_logprob", "no_speech_prob", "repeated", "reason"),
    [
        (-0.3, 0.1, 1.5, FallbackReason.SPEECH_RATE),
        (-0.3, 0.1, 2.41, FallbackReason.COMPRESSION_RATIO),
        (-1.01, 0.1, 1.5, FallbackReason.LOW_LOGPROB),
        (-1.01, 0.61, 1.5, None),
    ],
)
def test_the_speech_rate_is_measured_after_whispers_rules(
    avg_logprob: float, no_speech_prob: float, repeated: float, reason: FallbackReason | None
):
    """Whisper's own rules come before it, and a silent window has no reason at all."""
    found = hypothesis(avg_logprob, no_speech_prob, repeated, exceeds_speech_rate=True)
    assert found.fallback_reason is reason


@pytest.mark.parametrize(
    ("doubled_letters", "has_prompt", "has_fault", "reason"),
    [
        (0, True, False, None),
        (10, True, True, None),
        (55, True, True, None),
        (56, True, True, FallbackReason.DOUBLED_TEXT),
        (55, False, False, None),
        (56, False, True, FallbackReason.DOUBLED_TEXT),
    ],
)
def test_a_text_that_stands_twice_needs_the_full_context(
    doubled_letters: int, has_prompt: bool, has_fault: bool, reason: FallbackReason | None
):
    """Only after a prompt, or if both copies together have more than 22 letters a second: then at any context."""
    found = hypothesis(-0.3, 0.1, 1.5, doubled_letters=doubled_letters, has_prompt=has_prompt)
    assert (found.has_fault, found.fallback_reason) == (has_fault, reason)


def hypothesis(
    avg_logprob: float,
    no_speech_prob: float,
    repeated: float,
    *,
    exceeds_speech_rate: bool = False,
    doubled_letters: int = 0,
    has_prompt: bool = False,
) -> Hypothesis:
    return Hypothesis(
        Generation((), avg_logprob, no_speech_prob),
        temperature=0.0,
        window=WindowTokens((), 5.0, None),
        speech_s=5.0,
        compression_ratio=repeated,
        repetition=repeated,
        exceeds_speech_rate=exceeds_speech_rate,
        doubled_letters=doubled_letters,
        has_prompt=has_prompt,
        hit_token_limit=False,
    )
