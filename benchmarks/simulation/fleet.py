"""Simulate many slots behind a load balancer, with an autoscaler."""

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
from benchmarks.simulation.slot import STEP_FRAMES, Outcome, Policy, SlotSim, service_rule

Balance = Literal["least connections", "round robin", "random"]
Signal = Literal["queue", "capped queue", "open requests"]

_TICK_S = 15.0
"""Interval of Prometheus' scrapes and of the autoscaler, which therefore sees the value of the last interval."""
_DRAIN_S = Timeouts.for_request(300).drain_s


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """A HorizontalPodAutoscaler with the behaviour of deploy/kubernetes.

    It scales up at once, to twice as many pods or by four. It scales down by a tenth a minute, after fewer pods were
    wanted for `down_after_s`.
    """

    signal: Signal
    target: float
    min_pods: int
    max_pods: int
    start_s: float
    """From the decision until the pod is ready: a node, the image, the model."""
    down_after_s: float = 600.0


@dataclass(slots=True, eq=False)
class _Pod:
    slot: SlotSim
    ready: bool = False
    gone: bool = False


@dataclass(slots=True)
class FleetResult:
    outcomes: list[Outcome] = field(default_factory=list)
    pod_hours: float = 0.0
    max_pods: int = 0
    busy_share: float = 0.0
    lost_audio_s: float = 0.0
    """Seconds of audio of the requests that were still open when the drain of their pod ended."""


class FleetSim:
    """Simulates a fleet of slots of one kind. `run` can be called once."""

    def __init__(
        self,
        costs: Costs,
        *,
        n_pods: int,
        balance: Balance = "least connections",
        autoscaler: Autoscaler | None = None,
        policy: Policy = service_rule,
        seed: int = 1,
        step_frames: int = STEP_FRAMES,
    ) -> None:
        self._events = Events()
        self._costs, self._balance, self._autoscaler, self._policy = costs, balance, autoscaler, policy
        self._step_frames = step_frames
        self._random = random.Random(seed)
        self._turn = 0
        self._pods: list[_Pod] = []
        self._signals: deque[float] = deque([0.0], maxlen=2)
        self._wanted: deque[tuple[float, int]] = deque()
        self._last_down_s = -math.inf
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
            return self._random.choice(pods)
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
            self.result.outcomes.append,
            seed=len(self._pods),
            step_frames=self._step_frames,
        )
        pod = _Pod(slot)
        self._pods.append(pod)
        self.result.max_pods = max(self.result.max_pods, self._n_pods)

        def become_ready() -> None:
            pod.ready = True

        if start_s:
            self._events.after(start_s, become_ready)
        else:
            become_ready()

    def _stop_pod(self) -> None:
        """Drain the pod with the fewest open requests."""
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
        """Add the pod hours since the number of pods last changed."""
        self.result.pod_hours += self._n_pods * (self._events.now_s - self._counted_s) / 3600
        self._counted_s = self._events.now_s

    def _tick(self) -> None:
        scaler = self._autoscaler
        assert scaler is not None
        self._signals.append(self._signal(scaler))
        wanted = wanted_pods(self._signals[0], scaler)
        now_s, n = self._events.now_s, self._n_pods
        self._wanted.append((now_s, wanted))
        while self._wanted[0][0] < now_s - scaler.down_after_s:
            self._wanted.popleft()
        if wanted > n:
            for _ in range(min(wanted, max(2 * n, n + 4)) - n):
                self._start_pod(scaler.start_s)
            return
        recently = max(each for _, each in self._wanted)
        if recently < n and now_s - self._last_down_s >= 60 and now_s >= scaler.down_after_s:
            self._last_down_s = now_s
            for _ in range(min(n - recently, max(1, n // 10))):
                self._stop_pod()

    def _signal(self, scaler: Autoscaler) -> float:
        return sum(_pod_signal(pod.slot, scaler) for pod in self._pods if pod.ready and not pod.gone)


def _pod_signal(slot: SlotSim, scaler: Autoscaler) -> float:
    if scaler.signal == "open requests":
        return slot.open_requests
    # One long recording keeps the queue of its slot full and cannot use other slots. The cap bounds its weight.
    return min(slot.depth, 2 * scaler.target) if scaler.signal == "capped queue" else slot.depth


def wanted_pods(total: float, scaler: Autoscaler) -> int:
    """Return the number of pods that an HPA wants: total / target, rounded up, within its bounds."""
    return min(max(math.ceil(total / scaler.target), scaler.min_pods), scaler.max_pods)


def latencies(outcomes: Iterable[Outcome], *, bulk: bool) -> list[float]:
    """Return the latencies of the answered requests in seconds, sorted."""
    return sorted(each.latency_s for each in outcomes if each.arrival.bulk is bulk and not each.refused)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of sorted values by the nearest rank; NaN if there are none."""
    if not values:
        return math.nan
    return values[min(max(math.ceil(share / 100 * len(values)) - 1, 0), len(values) - 1)]
