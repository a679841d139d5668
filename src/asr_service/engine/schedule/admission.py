"""Admit requests, or refuse them with the time after which to retry. A refused request costs nothing."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.errors import CallerLimit, Overloaded

RECENT_S: Final = 60.0
"""For how long after a request of another caller a caller may hold no more than its share of the places."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much audio waits for the model, and how long a new request would wait."""

    queued_audio_s: float
    expected_wait_s: float


def caller_share(max_open_requests: int) -> int:
    """Return how many of the places one caller may hold, of its uploads or while there are other callers."""
    return max(1, max_open_requests // 2)


class Admission:
    """Counts open requests and checks the queue. Used on one event loop."""

    def __init__(
        self,
        load: Callable[[], Load],
        *,
        max_open_requests: int,
        max_queued_audio_s: float,
        max_wait_s: float,
        on_change: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Admit requests up to the limits.

        `load` returns the current load. `on_change` is called with the number of open requests whenever it changes.
        """
        self._load = load
        self._max_open_requests = max_open_requests
        self._max_queued_audio_s = max_queued_audio_s
        self._max_wait_s = max_wait_s
        self._on_change = on_change
        self._clock = clock
        self._open_by_caller: Counter[Caller] = Counter()
        self._asked_at: dict[Caller, float] = {}
        """When the last two callers asked last."""
        self.open_requests = 0

    @contextmanager
    def permit(self, caller: Caller = UNKNOWN_CALLER) -> Iterator[None]:
        """Count a request as open while the context lasts.

        Raises Overloaded: all places are taken. Raises CallerLimit: the caller holds half of the places, and others
        have asked for one within the last minute.
        """
        self._check_places(caller)
        self._count(caller, 1)
        try:
            yield
        finally:
            self._count(caller, -1)

    def check_queue(self) -> None:
        """Check that new work may be added to the queue. Raises Overloaded, with the expected wait: it may not."""
        load = self._load()
        wait_s = load.expected_wait_s
        if load.queued_audio_s > self._max_queued_audio_s:
            raise Overloaded(
                f"{load.queued_audio_s:.0f} s of audio wait for the model, which is over the limit. Try again later.",
                retry_after_s=wait_s,
            )
        if wait_s > self._max_wait_s:
            raise Overloaded(
                f"The expected wait is {wait_s:.0f} s, which is over the limit. Try again later.", retry_after_s=wait_s
            )

    def _count(self, caller: Caller, change: int) -> None:
        self.open_requests += change
        self._open_by_caller[caller] += change
        if not self._open_by_caller[caller]:
            del self._open_by_caller[caller]
        self._on_change(self.open_requests)

    def _check_places(self, caller: Caller) -> None:
        has_others = self._note_and_find_others(caller)
        held, share = self._open_by_caller[caller], caller_share(self._max_open_requests)
        if has_others and held >= share:
            raise CallerLimit(
                f"You have {held} open requests, which is the limit while others use the service. Try again later.",
                retry_after_s=self._load().expected_wait_s,
            )
        if self.open_requests >= self._max_open_requests:
            raise Overloaded(
                f"The service has {self.open_requests} open requests, which is its limit. Try again later.",
                retry_after_s=self._load().expected_wait_s,
            )

    def _note_and_find_others(self, caller: Caller) -> bool:
        """Note that the caller asks now, and return whether another caller did so recently."""
        now = self._clock()
        self._asked_at.pop(caller, None)
        has_others = any(now - asked_at < RECENT_S for asked_at in self._asked_at.values())
        self._asked_at[caller] = now
        if len(self._asked_at) > 2:  # noqa: PLR2004 - the last caller, and the last other one
            del self._asked_at[next(iter(self._asked_at))]
        return has_others
