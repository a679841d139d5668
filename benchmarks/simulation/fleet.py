"""Many slots behind a balancer, as many as an autoscaler wants, in simulated time."""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from asr_service.serving.limits import Timeouts
from benchmarks.simulation.arrivals import Arrival
from benchmarks.simulation.costs import Costs
from benchmarks.simulation.events import Events
from benchmarks.simulation.slot import STEP_FRAMES, Answer, Policy, SlotSim, present

Balance = Literal["least connections", "round robin", "random"]
Signal = Literal["queue", "capped queue", "open requests"]

_TICK_S = 15.0
"""Of Prometheus' scrapes and of the autoscaler, which therefore sees what was a tick ago."""
_DRAIN_S = Timeouts.for_request(300).drain_s


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """An HPA with the behaviour of deploy/kubernetes: up at once, doubling or by four; down by a tenth a minute, after
    what was wanted has been less for `down_after_s`.
    """

    signal: Signal
    target: float
    least: int
    most: int
    start_s: float
    """From wanted to ready: a node, the image, the model."""
    down_after_s: float = 600.0


@dataclass(slots=True, eq=False)
class _Pod:
    slot: SlotSim
    ready: bool = False
    gone: bool = False


@dataclass(slots=True)
class FleetResult:
    answers: list[Answer] = field(default_factory=list)
    pod_hours: float = 0.0
    most_pods: int = 0
    busy_share: float = 0.0
    lost_audio_s: float = 0.0
    """Of requests that had not ended when a pod's drain was over."""


class FleetSim:
    """Slots of one kind. `run` once."""

    def __init__(
        self,
        costs: Costs,
        *,
        n_pods: int,
        balance: Balance = "least connections",
        autoscaler: Autoscaler | None = None,
        policy: Policy = present,
        seed: int = 1,
        step_frames: int = STEP_FRAMES,
    ) -> None:
        self._events = Events()
        self._costs, self._balance, self._autoscaler, self._policy = costs, balance, autoscaler, policy
        self._step_frames = step_frames
        self._chance = random.Random(seed)
        self._turn = 0
        self._pods: list[_Pod] = []
        self._seen: deque[float] = deque([0.0], maxlen=2)
        self._wanted: deque[tuple[float, int]] = deque()
        self._since_down_s = -math.inf
        self._counted_s = 0.0
        self.result = FleetResult()
        for _ in range(n_pods):
            self._start_pod(0.0)

    def run(self, load: Sequence[Arrival]) -> FleetResult:
        for arrival in load:
            self._events.at(arrival.at_s, self._arrive(arrival))
        end_s = load[-1].at_s if load else 0.0
        if self._autoscaler:
            for tick in range(1, math.ceil(end_s / _TICK_S)):
                self._events.at(tick * _TICK_S, self._tick)
        self._events.run()
        self._count_pods()
        busy_s = sum(pod.slot.busy_s for pod in self._pods)
        self.result.busy_share = busy_s / (self.result.pod_hours * 3600 * self._costs.threads)
        return self.result

    def _arrive(self, arrival: Arrival) -> Callable[[], None]:
        def act() -> None:
            pods = [pod for pod in self._pods if pod.ready and not pod.gone]
            self._choose(pods).slot.submit(arrival)

        return act

    def _choose(self, pods: Sequence[_Pod]) -> _Pod:
        if self._balance == "random":
            return self._chance.choice(pods)
        self._turn += 1
        if self._balance == "round robin":
            return pods[self._turn % len(pods)]
        least = min(pod.slot.open_requests for pod in pods)
        equal = [pod for pod in pods if pod.slot.open_requests == least]
        return equal[self._turn % len(equal)]

    # -- the number of pods

    def _start_pod(self, start_s: float) -> None:
        self._count_pods()
        slot = SlotSim(
            self._events,
            self._costs,
            self._policy,
            self.result.answers.append,
            seed=len(self._pods),
            step_frames=self._step_frames,
        )
        pod = _Pod(slot)
        self._pods.append(pod)
        self.result.most_pods = max(self.result.most_pods, self._n_pods)

        def become_ready() -> None:
            pod.ready = True

        if start_s:
            self._events.after(start_s, become_ready)
        else:
            become_ready()

    def _stop_pod(self) -> None:
        """Drain the one with least to do."""
        self._count_pods()
        ready = [pod for pod in self._pods if pod.ready and not pod.gone]
        pod = min(ready, key=lambda each: each.slot.open_requests)
        pod.gone = True

        def drained() -> None:
            self.result.lost_audio_s += pod.slot.unfinished_audio_s

        self._events.after(_DRAIN_S, drained)

    @property
    def _n_pods(self) -> int:
        return sum(not pod.gone for pod in self._pods)

    def _count_pods(self) -> None:
        """Add what has passed since the number last changed."""
        self.result.pod_hours += self._n_pods * (self._events.now_s - self._counted_s) / 3600
        self._counted_s = self._events.now_s

    def _tick(self) -> None:
        scaler = self._autoscaler
        assert scaler is not None
        self._seen.append(self._signal(scaler))
        wanted = wanted_pods(self._seen[0], scaler)
        now_s, n = self._events.now_s, self._n_pods
        self._wanted.append((now_s, wanted))
        while self._wanted[0][0] < now_s - scaler.down_after_s:
            self._wanted.popleft()
        if wanted > n:
            for _ in range(min(wanted, max(2 * n, n + 4)) - n):
                self._start_pod(scaler.start_s)
            return
        lately = max(each for _, each in self._wanted)
        if lately < n and now_s - self._since_down_s >= 60 and now_s >= scaler.down_after_s:
            self._since_down_s = now_s
            for _ in range(min(n - lately, max(1, n // 10))):
                self._stop_pod()

    def _signal(self, scaler: Autoscaler) -> float:
        return sum(_pod_signal(pod.slot, scaler) for pod in self._pods if pod.ready and not pod.gone)


def _pod_signal(slot: SlotSim, scaler: Autoscaler) -> float:
    if scaler.signal == "open requests":
        return slot.open_requests
    # One long file keeps its slot's queue full and can use no other's: capped, it counts for less.
    return min(slot.depth, 2 * scaler.target) if scaler.signal == "capped queue" else slot.depth


def wanted_pods(total: float, scaler: Autoscaler) -> int:
    """An HPA's: the total over the target a pod, within its bounds."""
    return min(max(math.ceil(total / scaler.target), scaler.least), scaler.most)


def latencies(answers: Iterable[Answer], *, bulk: bool) -> list[float]:
    """Seconds of what was answered, sorted."""
    return sorted(each.latency_s for each in answers if each.arrival.bulk is bulk and not each.refused)


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values, the one that so many in a hundred are at or under; NaN of none."""
    if not values:
        return math.nan
    return values[min(max(math.ceil(share / 100 * len(values)) - 1, 0), len(values) - 1)]
