"""How often the client sends a recording again."""

from asr_service.client import RecordingRefused
from asr_service.client.retry import RetryableError, RetryBudget

REFUSED = RetryableError(RecordingRefused("busy"))
INTERRUPTED = RetryableError(RecordingRefused("crashed"), interrupted=True)


def test_the_third_interrupted_attempt_is_the_last():
    """Refusals in between neither count nor reset the count."""
    budget = RetryBudget()
    attempts = [INTERRUPTED, REFUSED, INTERRUPTED, REFUSED, INTERRUPTED]
    assert [budget.is_spent(attempt, 0.1) for attempt in attempts] == [False, False, False, False, True]


def test_a_retry_more_than_ten_minutes_after_the_first_refusal_is_not_made():
    """The delay before the next attempt counts."""
    assert not RetryBudget().is_spent(REFUSED, 599)
    assert RetryBudget().is_spent(REFUSED, 601)
