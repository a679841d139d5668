"""Simulate one slot of the service: its queue with the service's own `form_batch`, its model with a table of costs.

The simulation uses the service's own form_batch, batch limits, admission and throughput estimate. It has its own
versions of what engine.schedule.scheduler, pipeline.speech, pipeline.ordered_windows and decode.fallback do: threads,
the coalesce wait, blocks, the number of windows in flight, windows decoded again at full context. It has no word times,
no temperature fallback and no slow clients.
"""

import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache

from asr_service.access.caller import Caller
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.admission import Admission, Load
from asr_service.engine.schedule.batch import Batch, QueueEntry, fairness_penalty_s, form_batch, form_priority_batch
from asr_service.engine.schedule.caller_usage import CallerUsage
from asr_service.engine.schedule.scheduler import WORK_SHARE
from asr_service.engine.schedule.throughput import ThroughputEstimator
from asr_service.errors import Overloaded
from asr_service.settings import Settings
from benchmarks.simulation.arrivals import Arrival
from benchmarks.simulation.costs import Costs
from benchmarks.simulation.events import Cores, Events

Policy = Callable[[Arrival, float], float]
"""Returns the fairness penalty of a request's next entry, in seconds, from its arrival and the audio decoded so far."""

_SINGLE_WINDOW_S = 30.0
"""A recording up to this length is one window."""
_CHUNK_S, _FULL_CHUNK_S = 13.0, 28.0
"""Windows of long recordings, with short and with full encoder contexts. They end at pauses, so they are a little
shorter than the maximum.
"""
_FIRST_BLOCK_S, _MAX_BLOCK_S = 60.0, 300.0
_MARGIN_S, _MIN_CONTEXT_S, _FULL_FRAMES = 2.5, 8.0, 3000
STEP_FRAMES = 64
"""Encoder contexts are multiples of this, as in engine/decode/context.py. Only windows of one length share a call."""


def service_rule(_: Arrival, served_audio_s: float) -> float:
    """Return the penalty that the service itself gives."""
    return fairness_penalty_s(served_audio_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to a request."""

    arrival: Arrival
    ended_s: float
    longest_wait_s: float
    """The longest time that one of its windows waited for the model."""
    refused: bool = False

    @property
    def latency_s(self) -> float:
        return self.ended_s - self.arrival.at_s


@dataclass(slots=True, eq=False)
class _Window:
    request: "_Request"
    audio_s: float
    n_frames: int
    weight: float
    """Its decoding time divided by the mean of its length."""
    retry: bool
    """It is decoded again at full context."""
    is_first_window: bool
    done: bool = False


@dataclass(slots=True, eq=False)
class _Request:
    request_id: int
    arrival: Arrival
    permit: AbstractContextManager[None]
    unread_s: float
    room: int
    block_s: float = _FIRST_BLOCK_S
    started: bool = False
    read_whole: bool = False
    chunks: deque[float] = field(default_factory=deque)
    in_flight: deque[_Window] = field(default_factory=deque)
    served_s: float = 0.0
    longest_wait_s: float = 0.0


class SlotSim:
    def __init__(
        self,
        events: Events,
        costs: Costs,
        policy: Policy,
        on_outcome: Callable[[Outcome], None],
        seed: int = 1,
        step_frames: int = STEP_FRAMES,
    ) -> None:
        self._events, self._costs, self._policy, self._on_outcome = events, costs, policy, on_outcome
        self._step_frames = step_frames
        self._limits = costs.limits()
        self._seconds = cache(costs.seconds)
        self._cores = Cores(events, costs.cores, costs.crowding)
        self._random = random.Random(seed)
        self._waiting: list[QueueEntry] = []
        self._running: list[Batch] = []
        """Of the ordinary threads."""
        self._priority_batch: Batch | None = None
        self._requests: dict[int, _Request] = {}
        self._request_ids = itertools.count()
        self._throughput = ThroughputEstimator()
        self._caller_usage = CallerUsage(self._throughput.estimate_s)
        settings = Settings()
        self._max_in_flight = 2 * max(self._limits[Stage.GENERATE].n_windows, costs.threads)
        self._admission = Admission(
            self._load,
            max_open_requests=settings.max_open_requests,
            max_queued_audio_s=settings.max_queued_audio_s,
            max_wait_s=settings.max_wait_s,
            clock=lambda: events.now_s,
        )
        self.busy_s = 0.0

    @property
    def open_requests(self) -> int:
        return self._admission.open_requests

    @property
    def depth(self) -> int:
        """Number of windows that wait for the model, as in asr_queue_depth."""
        return len(self._waiting)

    @property
    def unfinished_audio_s(self) -> float:
        """Seconds of audio of the open requests. They would have to be repeated if the slot ended now."""
        return sum(request.arrival.audio_s for request in self._requests.values())

    def _load(self) -> Load:
        queued_s = sum(entry.audio_s for entry in self._waiting)
        return Load(queued_s, self._throughput.estimate_s(queued_s))

    # -- requests

    def submit(self, arrival: Arrival) -> None:
        permit = self._admission.permit(arrival.caller)
        try:
            self._admission.check_queue()
            permit.__enter__()
        except Overloaded:
            self._on_outcome(Outcome(arrival, self._events.now_s, 0.0, refused=True))
            return
        request = _Request(next(self._request_ids), arrival, permit, unread_s=arrival.audio_s, room=self._max_in_flight)
        self._requests[request.request_id] = request
        self._read_block(request, self._costs.before_fixed_s)

    def _read_block(self, request: _Request, fixed_s: float = 0.0) -> None:
        length_s = min(request.block_s, request.unread_s)
        single = not request.started and length_s == request.unread_s <= _SINGLE_WINDOW_S
        request.unread_s -= length_s
        request.block_s = min(2 * request.block_s, _MAX_BLOCK_S)

        def cut() -> None:
            request.chunks.extend(
                [length_s] if single else _windows(length_s, _FULL_CHUNK_S if self._costs.on_gpu else _CHUNK_S)
            )
            self._queue_windows(request)

        self._cores.start(fixed_s + length_s * self._costs.before_per_audio_s, cut)

    def _queue_windows(self, request: _Request) -> None:
        """Queue windows up to the maximum in flight; read the next block when none is left."""
        while request.chunks and request.room:
            request.room -= 1
            audio_s = request.chunks.popleft()
            window = _Window(
                request,
                audio_s,
                _context(audio_s, self._step_frames),
                weight=self._random.choice(self._costs.spread),
                retry=self._random.random() < self._costs.redone,
                is_first_window=not request.started,
            )
            request.started = True
            request.in_flight.append(window)
            self._enqueue(window, Stage.ENCODE)
            if not request.chunks:
                if request.unread_s > 0:
                    self._read_block(request)
                else:
                    request.read_whole = True

    def _enqueue(self, window: _Window, stage: Stage) -> None:
        now_s = self._events.now_s
        key = (stage, window.n_frames)
        entry = QueueEntry(
            stage,
            key,
            window.request.request_id,
            window,
            window.audio_s,
            window.n_frames,
            math.inf,
            now_s,
            window.is_first_window,
            caller=window.request.arrival.caller,
        )
        self._waiting.append(entry)
        self._dispatch()

    def _window_decoded(self, window: _Window) -> None:
        if window.retry and window.n_frames < _FULL_FRAMES:
            window.retry, window.n_frames = False, _FULL_FRAMES
            self._enqueue(window, Stage.ENCODE)
            return
        window.done = True
        request = window.request
        while request.in_flight and request.in_flight[0].done:  # windows are answered in order
            request.in_flight.popleft()
            request.room += 1
        self._queue_windows(request)
        if request.read_whole and not request.in_flight:
            request.permit.__exit__(None, None, None)
            del self._requests[request.request_id]
            self._on_outcome(Outcome(request.arrival, self._events.now_s, request.longest_wait_s))

    # -- the model's threads

    def _dispatch(self) -> None:
        n_threads = self._costs.threads
        while len(self._running) < n_threads and self._waiting:
            batch = form_batch(self._waiting, self._limits, self._penalties_s(), self._caller_levels())
            assert batch is not None
            self._running.append(batch)
            self._begin(batch)
        if self._costs.priority_thread and self._priority_batch is None and not self._costs.on_gpu:
            self._priority_batch = form_priority_batch(
                self._waiting, self._running, self._limits, self._penalties_s(), n_threads, self._caller_levels()
            )
            if self._priority_batch:
                self._begin(self._priority_batch)

    def _penalties_s(self) -> dict[int, float]:
        requests = {entry.request_id: self._requests[entry.request_id] for entry in self._waiting}
        return {request_id: self._policy(request.arrival, request.served_s) for request_id, request in requests.items()}

    def _caller_levels(self) -> dict[Caller, int]:
        return self._caller_usage.levels({entry.caller for entry in self._waiting}, self._events.now_s)

    def _begin(self, batch: Batch) -> None:
        now_s = self._events.now_s
        taken = set(map(id, batch.entries))
        self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
        for entry in batch.entries:
            request = self._requests[entry.request_id]
            request.longest_wait_s = max(request.longest_wait_s, now_s - entry.enqueued_at)
            if batch.stage is Stage.GENERATE:
                request.served_s += entry.audio_s
            self._caller_usage.add(entry.caller, WORK_SHARE[batch.stage] * entry.audio_s, now_s)
        self._throughput.begin(now_s)
        seconds = self._call_s(batch)
        if self._costs.on_gpu:
            self._events.after(seconds, lambda: self._end(batch, now_s))
        else:
            self._cores.start(seconds, lambda: self._end(batch, now_s))

    def _call_s(self, batch: Batch) -> float:
        if batch.stage is Stage.ENCODE:
            return self._seconds(Stage.ENCODE, batch.entries[0].n_frames, len(batch.entries))
        # The time depends on the speech and not on the silence after it: the windows of the table have the context of
        # their speech.
        n = len(batch.entries)
        n_frames = sum(_context(entry.audio_s, STEP_FRAMES) for entry in batch.entries) // n
        weight: float = sum(entry.payload.weight for entry in batch.entries) / n
        return self._seconds(Stage.GENERATE, n_frames, n) * weight

    def _end(self, batch: Batch, began_s: float) -> None:
        now_s, hop_s = self._events.now_s, self._costs.hop_s
        encoded = batch.stage is Stage.ENCODE
        self.busy_s += now_s - began_s
        self._throughput.end(now_s, sum(entry.audio_s for entry in batch.entries) / 2)
        for entry in batch.entries:
            self._events.after(hop_s, self._next_step(entry.payload, encoded=encoded))
        request_ids = {entry.request_id for entry in batch.entries}
        waits = (
            encoded
            and self._costs.coalesce_wait_s
            and not any(entry.request_id in request_ids for entry in self._waiting)
        )
        # Planned after the steps above, so that the window is queued before its thread looks for request.
        self._events.after(min(self._costs.coalesce_wait_s, hop_s) if waits else 0.0, lambda: self._free_thread(batch))

    def _next_step(self, window: _Window, *, encoded: bool) -> Callable[[], None]:
        if encoded:
            return lambda: self._enqueue(window, Stage.GENERATE)
        return lambda: self._window_decoded(window)

    def _free_thread(self, batch: Batch) -> None:
        if batch is self._priority_batch:
            self._priority_batch = None
        else:
            self._running.remove(batch)
        self._dispatch()


def _windows(audio_s: float, chunk_s: float) -> Iterator[float]:
    """Cut audio into windows of equal length."""
    n = max(1, math.ceil(audio_s / chunk_s))
    return itertools.repeat(audio_s / n, n)


def _context(audio_s: float, step_frames: int) -> int:
    """Return the frames of the encoder context, as engine/decode/context.py does."""
    frames = max(audio_s + _MARGIN_S, _MIN_CONTEXT_S) * 100
    return min(math.ceil(frames / step_frames) * step_frames, _FULL_FRAMES)
