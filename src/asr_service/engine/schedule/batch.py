"""Which waiting jobs go to the model next, together. Pure functions: no threads, no clock, no model."""

from collections.abc import Collection, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from asr_service.engine.model.stages import Stage


@dataclass(slots=True, eq=False)
class Job:
    """One window's turn in one stage.

    Jobs with the same `stage` and `key` may share a call of the model, and have the same `n_frames`; `owner` is the
    request, for fairness;
    `n_frames` (10 ms each) is the window's length, padding included; times are monotonic seconds. `future` gets the
    stage's result, or the error.
    """

    stage: Stage
    key: Hashable
    owner: int
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


MOST_HANDICAP_S = 30.0
"""How much later than it came a job of a request that has had much may be served."""
_AUDIO_A_HANDICAP_SECOND = 6.0


def handicap_s(served_audio_s: float) -> float:
    """How long a request's next job stands back for newcomers, by the audio that the model has done for it.

    A clip's one window stands back for none, a recording's second of 15 s stands back 2.5 s, and from three minutes on
    each stands back 30 s: longer than the windows of several such files wait for one another, so that clips pass them
    all, and no longer, so that they starve of no stream of clips. Simulated and measured: docs/performance.md.
    """
    return min(served_audio_s / _AUDIO_A_HANDICAP_SECOND, MOST_HANDICAP_S)


def form_batch(
    waiting: Collection[Job], limits: Mapping[Stage, BatchLimit], handicaps: Mapping[int, float]
) -> Batch | None:
    """Choose the jobs of the next call of the model; None where nothing waits.

    The oldest job goes first, whatever its stage. `handicaps` (owner -> seconds) makes the jobs of a request count as
    younger than they are. A job of a request's first window takes the place of that request's oldest job, because the
    client waits for its words. Jobs with the stage and key of the first job join it, in the same order, up to the
    limit. The batch is formed of what is in the queue now: it never waits for more jobs.
    """
    came: dict[int, float] = {}
    for job in waiting:
        came[job.owner] = min(came.get(job.owner, job.enqueued_at), job.enqueued_at)
    in_order = sorted(waiting, key=lambda job: _place(job, came[job.owner], handicaps.get(job.owner, 0.0)))
    if not in_order:
        return None
    first = in_order[0]
    like_it = [job for job in in_order if (job.stage, job.key) == (first.stage, first.key)]
    return Batch(first.stage, tuple(like_it[: limits[first.stage].most(first.n_frames)]))


def form_express(
    waiting: Collection[Job],
    running: Collection[Batch],
    limits: Mapping[Stage, BatchLimit],
    handicaps: Mapping[int, float],
    n_threads: int,
) -> Batch | None:
    """Choose first words for a thread beside the `n_threads`; None where one of those is free, or soon will be.

    No call of the model can be interrupted, but the kernel shares a CPU's cores between this one and theirs. While one
    of theirs is for first words too, which does not take long, it would only crowd that.
    """
    if len(running) < n_threads or any(job.is_first_window for batch in running for job in batch.jobs):
        return None
    return form_batch([job for job in waiting if job.is_first_window], limits, handicaps)


def _place(job: Job, owner_came: float, owners_handicap_s: float) -> tuple[float, bool]:
    return (owner_came if job.is_first_window else job.enqueued_at) + owners_handicap_s, not job.is_first_window
