"""Who is let in. A request past the limits costs nothing: it is told when to come again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from asr_service.access.replay import ReplayState
from asr_service.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Load:
    """What waits for the model, and how long it will."""

    queued_audio_s: float
    expected_wait_s: float


class Admission:
    """Counts open requests and looks at the queue. Used from the event loop alone."""

    def __init__(
        self,
        load: Callable[[], Load],
        *,
        max_open_requests: int,
        max_queued_audio_s: float,
        max_wait_s: float,
        on_change: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`on_change` is told the number of open requests."""
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
        to it. None applies to one that adopts the work. Raises Overloaded, with the expected wait: a limit is reached.
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
                f"{self.open_requests} requests are open, which is the limit; try again later", retry_after_s=wait_s
            )
        if state is ReplayState.ATTACHED:
            return
        if load.queued_audio_s > self._max_queued_audio_s:
            raise Overloaded(
                f"{load.queued_audio_s:.0f} s of audio wait for the model, which is over the limit; try again later",
                retry_after_s=wait_s,
            )
        if wait_s > self._max_wait_s:
            raise Overloaded(f"the wait would be {wait_s:.0f} s; try again later", retry_after_s=wait_s)
