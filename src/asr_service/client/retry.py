"""Decides when a recording is sent again, and when the client stops retrying."""

import time
from typing import Final

from asr_service.errors import AsrError

_MAX_REFUSED_S: Final = 600.0
"""How long the client keeps sending a recording to a service that is busy or cannot be reached any more."""
_MAX_INTERRUPTIONS: Final = 3
"""How many responses may break off. A recording that crashes the service must not be sent again and again."""


class RetryableError(Exception):
    """One attempt failed, and another may succeed.

    `failure` is raised to the caller when the budget is spent. `retry_after_s` is what the service asked for, None if
    it did not. `interrupted` is true if the service had begun to work on the recording.
    """

    def __init__(self, failure: AsrError, *, retry_after_s: float | None = None, interrupted: bool = False) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.retry_after_s = retry_after_s
        self.interrupted = interrupted


class RetryBudget:
    """Limits the attempts for one recording: three interrupted ones, or ten minutes of refusals in a row."""

    def __init__(self) -> None:
        self._n_interruptions = 0
        self._refused_since: float | None = None

    def next_delay_s(self, error: RetryableError, default_s: float) -> float:
        """Count a failed attempt. Return the seconds before the next one: what the service asked for, else `default_s`.

        Raises AsrError, the failure of this attempt: when the budget is spent.
        """
        delay_s = default_s if error.retry_after_s is None else error.retry_after_s
        if self.is_spent(error, delay_s):
            raise error.failure from error
        return delay_s

    def is_spent(self, error: RetryableError, delay_s: float) -> bool:
        """Count a failed attempt. True if no attempt may follow it after `delay_s` seconds."""
        if error.interrupted:
            self._n_interruptions += 1
            self._refused_since = None
            return self._n_interruptions >= _MAX_INTERRUPTIONS
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        return now + delay_s - self._refused_since > _MAX_REFUSED_S
