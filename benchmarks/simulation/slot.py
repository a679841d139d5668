"""One slot of the service in simulated time: its queue by the real `form_batch`, its model by a table of costs.

What is the service's own: form_batch, the batch limits, admission, the measured speed. What is written again in
simulated time, after engine.schedule.scheduler, pipeline.speech, pipeline.transcriber and decode.window: threads,
linger, blocks, the number of windows ahead, windows done again at full context. What is not there: word times,
temperature fallback, slow clients.
"""

import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.admission import Admission, Load
from asr_service.engine.schedule.batch import Batch, Job, fairness_penalty_s, form_batch, form_priority_batch
from asr_service.engine.schedule.throughput import ThroughputEstimator
from asr_service.errors import Overloaded
from asr_service.settings import Settings
from benchmarks.simulation.arrivals import Arrival
from benchmarks.simulation.costs import Costs
from benchmarks.simulation.events import Cores, Events

Policy = Callable[[Arrival, float], float]
"""Seconds that a request's next job stands back, by what is known of it and the audio served to it so far."""

_LONE_S = 30.0
_CHUNK_S, _FULL_CHUNK_S = 13.0, 28.0
"""Of long speech, with short contexts and with full ones: cut in pauses, windows are a little shorter than they may be.
"""
_FIRST_BLOCK_S, _MOST_BLOCK_S = 60.0, 300.0
_MARGIN_S, _FLOOR_S, _FULL_FRAMES = 2.5, 8.0, 3000
STEP_FRAMES = 64
"""Contexts are whole steps, as in engine/decode/context.py. Only windows of one context share a call."""


def present(_: Arrival, served_audio_s: float) -> float:
    """As engine/schedule/batch.py has it."""
    return fairness_penalty_s(served_audio_s)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request."""

    arrival: Arrival
    ended_s: float
    longest_wait_s: float
    """Of any of its windows, for the model."""
    refused: bool = False

    @property
    def latency_s(self) -> float:
        return self.ended_s - self.arrival.at_s


@dataclass(slots=True, eq=False)
class _Window:
    work: "_Work"
    audio_s: float
    n_frames: int
    weight: float
    """How much longer than the mean it takes to decode."""
    redo: bool
    is_first_window: bool
    """The request's first: somebody waits for its words."""
    done: bool = False


@dataclass(slots=True, eq=False)
class _Work:
    request_id: int
    arrival: Arrival
    place: AbstractContextManager[None]
    left_s: float
    room: int
    block_s: float = _FIRST_BLOCK_S
    begun: bool = False
    fed: bool = False
    chunks: deque[float] = field(default_factory=deque)
    under_way: deque[_Window] = field(default_factory=deque)
    served_s: float = 0.0
    longest_wait_s: float = 0.0


class SlotSim:
    def __init__(
        self,
        events: Events,
        costs: Costs,
        policy: Policy,
        on_answer: Callable[[Answer], None],
        seed: int = 1,
        step_frames: int = STEP_FRAMES,
    ) -> None:
        self._events, self._costs, self._policy, self._on_answer = events, costs, policy, on_answer
        self._step_frames = step_frames
        self._limits = costs.limits()
        self._seconds = cache(costs.seconds)
        self._cores = Cores(events, costs.cores, costs.crowding)
        self._chance = random.Random(seed)
        self._waiting: list[Job] = []
        self._running: list[Batch] = []
        """On the ordinary threads."""
        self._priority_batch: Batch | None = None
        self._works: dict[int, _Work] = {}
        self._request_ids = itertools.count()
        self._throughput = ThroughputEstimator()
        settings = Settings(_env_file=None)
        self._ahead = 2 * max(self._limits[Stage.GENERATE].n_windows, costs.threads)
        self._admission = Admission(
            self._load,
            max_open_requests=settings.max_open_requests,
            max_queued_audio_s=settings.max_queued_audio_s,
            max_wait_s=settings.max_wait_s,
        )
        self.busy_s = 0.0

    @property
    def open_requests(self) -> int:
        return self._admission.open_requests

    @property
    def depth(self) -> int:
        """Windows that wait for the model: asr_queue_depth."""
        return len(self._waiting)

    @property
    def unfinished_audio_s(self) -> float:
        """Seconds of the audio of open requests that would have to be done again if the slot ended now."""
        return sum(work.arrival.audio_s for work in self._works.values())

    def _load(self) -> Load:
        queued_s = sum(job.audio_s for job in self._waiting)
        return Load(queued_s, self._throughput.estimate_s(queued_s))

    # -- a request's way

    def submit(self, arrival: Arrival) -> None:
        place = self._admission.permit()
        try:
            place.__enter__()
        except Overloaded:
            self._on_answer(Answer(arrival, self._events.now_s, 0.0, refused=True))
            return
        work = _Work(next(self._request_ids), arrival, place, left_s=arrival.audio_s, room=self._ahead)
        self._works[work.request_id] = work
        self._read_block(work, self._costs.before_fixed_s)

    def _read_block(self, work: _Work, more_s: float = 0.0) -> None:
        length_s = min(work.block_s, work.left_s)
        lone = not work.begun and length_s == work.left_s <= _LONE_S
        work.left_s -= length_s
        work.block_s = min(2 * work.block_s, _MOST_BLOCK_S)

        def cut() -> None:
            work.chunks.extend(
                [length_s] if lone else _pieces(length_s, _FULL_CHUNK_S if self._costs.on_gpu else _CHUNK_S)
            )
            self._feed(work)

        self._cores.start(more_s + length_s * self._costs.before_per_audio_s, cut)

    def _feed(self, work: _Work) -> None:
        """Send windows to the model while the request may have more there; then read on."""
        while work.chunks and work.room:
            work.room -= 1
            audio_s = work.chunks.popleft()
            window = _Window(
                work,
                audio_s,
                _context(audio_s, self._step_frames),
                weight=self._chance.choice(self._costs.spread),
                redo=self._chance.random() < self._costs.redone,
                is_first_window=not work.begun,
            )
            work.begun = True
            work.under_way.append(window)
            self._enqueue(window, Stage.ENCODE)
            if not work.chunks:
                if work.left_s > 0:
                    self._read_block(work)
                else:
                    work.fed = True

    def _enqueue(self, window: _Window, stage: Stage) -> None:
        now_s = self._events.now_s
        key = (stage, window.n_frames)
        job = Job(
            stage,
            key,
            window.work.request_id,
            window,
            window.audio_s,
            window.n_frames,
            math.inf,
            now_s,
            window.is_first_window,
        )
        self._waiting.append(job)
        self._dispatch()

    def _window_decoded(self, window: _Window) -> None:
        if window.redo and window.n_frames < _FULL_FRAMES:
            window.redo, window.n_frames = False, _FULL_FRAMES
            self._enqueue(window, Stage.ENCODE)
            return
        window.done = True
        work = window.work
        while work.under_way and work.under_way[0].done:  # the answer takes windows in order
            work.under_way.popleft()
            work.room += 1
        self._feed(work)
        if work.fed and not work.under_way:
            work.place.__exit__(None, None, None)
            del self._works[work.request_id]
            self._on_answer(Answer(work.arrival, self._events.now_s, work.longest_wait_s))

    # -- the model's threads

    def _dispatch(self) -> None:
        n_threads = self._costs.threads
        while len(self._running) < n_threads and self._waiting:
            batch = form_batch(self._waiting, self._limits, self._penalties_s())
            assert batch is not None
            self._running.append(batch)
            self._begin(batch)
        if self._costs.priority_thread and self._priority_batch is None and not self._costs.on_gpu:
            self._priority_batch = form_priority_batch(
                self._waiting, self._running, self._limits, self._penalties_s(), n_threads
            )
            if self._priority_batch:
                self._begin(self._priority_batch)

    def _penalties_s(self) -> dict[int, float]:
        works = {job.request_id: self._works[job.request_id] for job in self._waiting}
        return {request_id: self._policy(work.arrival, work.served_s) for request_id, work in works.items()}

    def _begin(self, batch: Batch) -> None:
        now_s = self._events.now_s
        taken = set(map(id, batch.jobs))
        self._waiting = [job for job in self._waiting if id(job) not in taken]
        for job in batch.jobs:
            work = self._works[job.request_id]
            work.longest_wait_s = max(work.longest_wait_s, now_s - job.enqueued_at)
            if batch.stage is Stage.GENERATE:
                work.served_s += job.audio_s
        self._throughput.begin(now_s)
        seconds = self._call_s(batch)
        if self._costs.on_gpu:
            self._events.after(seconds, lambda: self._end(batch, now_s))
        else:
            self._cores.start(seconds, lambda: self._end(batch, now_s))

    def _call_s(self, batch: Batch) -> float:
        if batch.stage is Stage.ENCODE:
            return self._seconds(Stage.ENCODE, batch.jobs[0].n_frames, len(batch.jobs))
        # By what is said, not by the silence around it: the table's windows have the context that suits their speech.
        n = len(batch.jobs)
        spoken = sum(_context(job.audio_s, STEP_FRAMES) for job in batch.jobs) // n
        weight: float = sum(job.payload.weight for job in batch.jobs) / n
        return self._seconds(Stage.GENERATE, spoken, n) * weight

    def _end(self, batch: Batch, began_s: float) -> None:
        now_s, hop_s = self._events.now_s, self._costs.hop_s
        encoded = batch.stage is Stage.ENCODE
        self.busy_s += now_s - began_s
        self._throughput.end(now_s, sum(job.audio_s for job in batch.jobs) / 2)
        for job in batch.jobs:
            self._events.after(hop_s, self._next_step(job.payload, encoded=encoded))
        request_ids = {job.request_id for job in batch.jobs}
        lingers = (
            encoded and self._costs.coalesce_wait_s and not any(job.request_id in request_ids for job in self._waiting)
        )
        # Planned after the steps above: at one moment, the window is back before its thread looks around.
        self._events.after(
            min(self._costs.coalesce_wait_s, hop_s) if lingers else 0.0, lambda: self._free_thread(batch)
        )

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


def _pieces(audio_s: float, chunk_s: float) -> Iterator[float]:
    """Windows of equal length."""
    n = max(1, math.ceil(audio_s / chunk_s))
    return itertools.repeat(audio_s / n, n)


def _context(audio_s: float, step_frames: int) -> int:
    """Frames that the encoder is given, as engine/decode/context.py has it."""
    frames = max(audio_s + _MARGIN_S, _FLOOR_S) * 100
    return min(math.ceil(frames / step_frames) * step_frames, _FULL_FRAMES)
