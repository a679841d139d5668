"""Which waiting jobs go to the model next, together. Pure functions: no threads, no clock, no model."""

from collections.abc import Collection, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from asr_service.engine.model.stages import Stage


@dataclass(slots=True, eq=False)
class Job:
    """One window's turn in one stage.

    Jobs with the same `stage` and `key` may share a call of the model; they have the same `n_frames`, the length of the
    window with its padding in frames of 10 ms. Times are monotonic seconds. `future` gets the stage's result or an error.
    """

    stage: Stage
    key: Hashable
    request_id: int
    payload: Any
    audio_s: float
    n_frames: int
    deadline: float
    enqueued_at: float
    is_first_window: bool = False
    """Nothing of its request can be told before it."""
    future: Future[Any] = field(default_factory=Future)
    started_at: float = 0.0
    n_together: int = 0
    """Jobs in the call of the model that it had a part in."""
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    stage: Stage
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class BatchLimit:
    """What one call of the model may hold, one window at least."""

    n_windows: int
    n_frames: int | None = None
    """The sum of the frames of all its windows, where more than one window is in it; None for no bound."""

    def most(self, n_frames: int) -> int:
        """Return how many windows of `n_frames` each one call may hold."""
        return self.n_windows if self.n_frames is None else max(1, min(self.n_windows, self.n_frames // n_frames))


MAX_FAIRNESS_PENALTY_S = 30.0
"""How much later than it came a job of a request that has had much may be served."""
_AUDIO_S_PER_PENALTY_S = 6.0


def fairness_penalty_s(served_audio_s: float) -> float:
    """How long a request's next job stands back for newcomers, by the audio that the model has done for it.

    A clip's one window stands back for none, a recording's second of 15 s stands back 2.5 s, and from three minutes on
    each stands back 30 s: longer than the windows of several such files wait for one another, so that clips pass them
    all, and no longer, so that they starve of no stream of clips. Simulated and measured: docs/performance.md.
    """
    return min(served_audio_s / _AUDIO_S_PER_PENALTY_S, MAX_FAIRNESS_PENALTY_S)


def form_batch(
    waiting: Collection[Job], limits: Mapping[Stage, BatchLimit], penalties_s: Mapping[int, float]
) -> Batch | None:
    """Choose the jobs of the next call of the model; None where nothing waits.

    The oldest job goes first, whatever its stage. `penalties_s` (request_id -> seconds) makes the jobs of a request
    count as younger than they are. A job of a request's first window takes the place of that request's oldest job, because the
    client waits for its words. Jobs with the stage and key of the first job join it, in the same order, up to the
    limit. The batch is formed of what is in the queue now: it never waits for more jobs.
    """
    came: dict[int, float] = {}
    for job in waiting:
        came[job.request_id] = min(came.get(job.request_id, job.enqueued_at), job.enqueued_at)
    in_order = sorted(waiting, key=lambda job: _place(job, came[job.request_id], penalties_s.get(job.request_id, 0.0)))
    if not in_order:
        return None
    first = in_order[0]
    like_it = [job for job in in_order if (job.stage, job.key) == (first.stage, first.key)]
    return Batch(first.stage, tuple(like_it[: limits[first.stage].most(first.n_frames)]))


def form_priority_batch(
    waiting: Collection[Job],
    running: Collection[Batch],
    limits: Mapping[Stage, BatchLimit],
    penalties_s: Mapping[int, float],
    n_threads: int,
) -> Batch | None:
    """Choose first words for a thread beside the `n_threads`; None where one of those is free, or soon will be.

    No call of the model can be interrupted, but the kernel shares a CPU's cores between this one and theirs. While one
    of theirs is for first words too, which does not take long, it would only crowd that.
    """
    if len(running) < n_threads or any(job.is_first_window for batch in running for job in batch.jobs):
        return None
    return form_batch([job for job in waiting if job.is_first_window], limits, penalties_s)


def _place(job: Job, request_came: float, penalty_s: float) -> tuple[float, bool]:
    return (request_came if job.is_first_window else job.enqueued_at) + penalty_s, not job.is_first_window
