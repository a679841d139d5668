"""Admit requests, or refuse them with the time after which to retry. A refused request costs nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from asr_service.access.replay import ReplayState
from asr_service.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Load:
    """How much audio waits for the model, and how long a new request would wait."""

    queued_audio_s: float
    expected_wait_s: float


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
    ) -> None:
        """Admit requests up to the limits.

        `load` returns the current load. `on_change` is called with the number of open requests whenever it changes.
        """
        self._load = load
        self._max_open_requests = max_open_requests
        self._max_queued_audio_s = max_queued_audio_s
        self._max_wait_s = max_wait_s
        self._on_change = on_change
        self.open_requests = 0

    @contextmanager
    def permit(self, state: ReplayState = ReplayState.NEW) -> Iterator[None]:
        """Count a request as open while the context lasts.

        A request that attaches to running work adds nothing to the queue, so only the limit on open requests applies
        to it. No limit applies to one that adopts the work.
        Raises Overloaded, with the expected wait: a limit is reached.
        """
        self._check(state)
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.open_requests += change
        self._on_change(self.open_requests)

    def _check(self, state: ReplayState) -> None:
        if state is ReplayState.ADOPTED:
            return
        load = self._load()
        wait_s = load.expected_wait_s
        if self.open_requests >= self._max_open_requests:
            raise Overloaded(
                f"The service has {self.open_requests} open requests, which is its limit. Try again later.",
                retry_after_s=wait_s,
            )
        if state is ReplayState.ATTACHED:
            return
        if load.queued_audio_s > self._max_queued_audio_s:
            raise Overloaded(
                f"{load.queued_audio_s:.0f} s of audio wait for the model, which is over the limit. Try again later.",
                retry_after_s=wait_s,
            )
        if wait_s > self._max_wait_s:
            raise Overloaded(
                f"The expected wait is {wait_s:.0f} s, which is over the limit. Try again later.", retry_after_s=wait_s
            )
