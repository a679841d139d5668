"""The list of attempts for a window."""

import pytest

from asr_service.engine.decode.attempts import Attempt, Step, attempts
from asr_service.engine.decode.context import MAX_SHORT_CONTEXT
from asr_service.engine.options import DecodingOptions

FIRST = Attempt(Step.FIRST, 0.0)
LONGER_CONTEXT = Attempt(Step.LONGER_CONTEXT, 0.0)
FULL_CONTEXT = Attempt(Step.FULL_CONTEXT, 0.0)
PENALTY = Attempt(Step.REPETITION_PENALTY, 0.0, 1.2)
SAMPLED = [Attempt(Step.TEMPERATURE, temperature) for temperature in (0.2, 0.4, 0.6, 0.8, 1.0)]


@pytest.mark.parametrize(
    ("context_frames", "listed"),
    [
        (2047, [FIRST, LONGER_CONTEXT, FULL_CONTEXT, PENALTY, *SAMPLED]),
        (2048, [FIRST, FULL_CONTEXT, PENALTY, *SAMPLED]),
        (MAX_SHORT_CONTEXT, [FIRST, PENALTY, *SAMPLED]),
        (3000, [FIRST, PENALTY, *SAMPLED]),
    ],
    ids=["short", "longer", "nearly full", "full"],
)
def test_only_a_shorter_context_can_become_a_longer_one(context_frames: int, listed: list[Attempt]):
    """Longer contexts come first, then the repetition penalty, then higher temperatures."""
    assert attempts(DecodingOptions(), context_frames) == listed


def test_a_doubtful_translation_needs_no_longer_context():
    """Nearly all translations are doubtful."""
    listed = attempts(DecodingOptions(task="translate"), 832)
    assert listed == [FIRST, FULL_CONTEXT, PENALTY, *SAMPLED]


def test_a_requested_temperature_has_neither_penalty_nor_sampling():
    """Longer contexts are tried at the same temperature."""
    assert attempts(DecodingOptions(temperature=0.3), 832) == [
        Attempt(Step.FIRST, 0.3),
        Attempt(Step.LONGER_CONTEXT, 0.3),
        Attempt(Step.FULL_CONTEXT, 0.3),
    ]


def test_the_text_of_earlier_windows_is_in_the_first_prompt_only():
    """If the prompt may be the reason for a fault, the window is decoded without it before anything else changes."""
    listed = attempts(DecodingOptions(), 832, has_text_before=True)
    assert listed == [FIRST, Attempt(Step.NO_TEXT_BEFORE, 0.0), LONGER_CONTEXT, FULL_CONTEXT, PENALTY, *SAMPLED]
