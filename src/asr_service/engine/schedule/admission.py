"""Who is let in. A request past the limits costs nothing: it is told when to come again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
    def permit(self, *, adds_work: bool = True, has_place: bool = False) -> Iterator[None]:
        """Hold one request's place. Raises Overloaded, with the wait that is expected.

        One that adds no work need not wait for what does. `has_place`: another holds a place for the same work.
        """
        self._check(adds_work=adds_work, has_place=has_place)
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.open_requests += change
        self._on_change(self.open_requests)

    def _check(self, *, adds_work: bool, has_place: bool) -> None:
        load = self._load()
        wait_s = load.expected_wait_s
        if self.open_requests >= self._max_open_requests and not has_place:
            raise Overloaded(
                f"{self.open_requests} requests are open, which is the limit; try again later", retry_after_s=wait_s
            )
        if not adds_work:
            return
        if load.queued_audio_s > self._max_queued_audio_s:
            raise Overloaded(
                f"{load.queued_audio_s:.0f} s of audio wait for the model, which is over the limit; try again later",
                retry_after_s=wait_s,
            )
        if wait_s > self._max_wait_s:
            raise Overloaded(f"the wait would be {wait_s:.0f} s; try again later", retry_after_s=wait_s)
