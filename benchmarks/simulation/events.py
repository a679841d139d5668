"""Simulated time: a queue of events, and processor cores that share their time among computations."""

import heapq
import itertools
from collections.abc import Callable

Act = Callable[[], None]

_NOTHING_LEFT_S = 1e-9


class Events:
    """Events in order of time. Events of the same time happen in the order in which they were planned."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Act]] = []
        self._count = itertools.count()

    def at(self, time_s: float, act: Act) -> None:
        heapq.heappush(self._due, (time_s, next(self._count), act))

    def after(self, seconds: float, act: Act) -> None:
        self.at(self.now_s + seconds, act)

    def run(self, until_s: float = float("inf")) -> None:
        """Run all events up to `until_s`."""
        while self._due and self._due[0][0] <= until_s:
            self.now_s, _, act = heapq.heappop(self._due)
            act()


class Cores:
    """Processor cores. If there are more computations than cores, all of them slow down alike."""

    def __init__(self, events: Events, n_cores: int, crowding: float = 1.0) -> None:
        """`crowding` is how much longer a computation takes while all cores are busy, because they share the memory."""
        self._events = events
        self._n_cores = n_cores
        self._crowding = crowding
        self._left_s: dict[int, float] = {}
        self._then: dict[int, Act] = {}
        self._names = itertools.count()
        self._since_s = 0.0
        self._plan = 0

    def start(self, work_s: float, then: Act) -> None:
        """Start a computation that takes `work_s` seconds on an idle machine, and call `then` when it ends."""
        self._advance()
        name = next(self._names)
        self._left_s[name], self._then[name] = work_s, then
        self._replan()

    def _rate(self) -> float:
        n = len(self._left_s)
        busy_share = min((n - 1) / max(self._n_cores - 1, 1), 1.0)
        return min(1.0, self._n_cores / n) / (1 + (self._crowding - 1) * busy_share)

    def _advance(self) -> None:
        if self._left_s:
            done_s = (self._events.now_s - self._since_s) * self._rate()
            for name in self._left_s:
                self._left_s[name] -= done_s
        self._since_s = self._events.now_s

    def _replan(self) -> None:
        self._plan += 1
        if self._left_s:
            wait_s = max(min(self._left_s.values()), 0.0) / self._rate()
            plan = self._plan
            self._events.after(wait_s, lambda: self._finish(plan))

    def _finish(self, plan: int) -> None:
        """End the finished computations, unless the plan has changed since."""
        if plan != self._plan:
            return
        self._advance()
        least_s = min(self._left_s.values())
        ended = [name for name, left_s in self._left_s.items() if left_s <= max(least_s, _NOTHING_LEFT_S)]
        acts = [self._then.pop(name) for name in ended]
        for name in ended:
            del self._left_s[name]
        self._replan()
        for act in acts:
            act()
