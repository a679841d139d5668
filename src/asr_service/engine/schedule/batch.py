"""Which waiting jobs go to the model next, together. Pure functions: no threads, no clock, no model."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from asr_service.engine.model.stages import Stage


@dataclass(slots=True, eq=False)
class Job:
    """One window's turn in one stage.

    Jobs with the same `stage` and `key` may share a call of the model; `owner` is the request, for fairness;
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
    """Of all windows of a short call together; only a long one (`allows_long`) has more. None is no bound."""

    def holds(self, jobs: Sequence[Job]) -> bool:
        return len(jobs) == 1 or (len(jobs) <= self.n_windows and not self.is_long(jobs))

    def is_long(self, jobs: Sequence[Job]) -> bool:
        return self.n_frames is not None and sum(job.n_frames for job in jobs) > self.n_frames

    def most(self, n_frames: int) -> int:
        """Windows of `n_frames` each that one call holds."""
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


_THREADS_FOR_LONG_CALLS = 2


def allows_long(running: Iterable[Batch], limits: Mapping[Stage, BatchLimit], n_threads: int) -> bool:
    """Whether the next call may have more frames than a short one: of two threads, one at a time.

    The other keeps to short calls, and who waits for more than first words waits for one of those. On more threads one
    recording has too few windows with the model at a time: simulated, its file alone takes longer with long calls.
    """
    return n_threads == _THREADS_FOR_LONG_CALLS and not any(
        limits[batch.stage].is_long(batch.jobs) for batch in running
    )


def form_batch(
    waiting: Collection[Job],
    limits: Mapping[Stage, BatchLimit],
    handicaps: Mapping[int, float],
    *,
    allow_long: bool,
) -> Batch | None:
    """Choose the jobs of the next call of the model; None where nothing waits.

    The job that came first goes first, whatever its stage, requests that have had much standing back by their handicap
    (`handicaps`: owner -> seconds). A job of a first window takes the first place that its request has: somebody waits
    for its words, and for the others' only after. Those of the first's stage and key go with it, in the same order,
    as many as may. Nothing waits for company: a batch is what is there. With `allow_long` it may have more frames than
    a short call, if they are one request's and nobody waits for first words.
    """
    came: dict[int, float] = {}
    for job in waiting:
        came[job.owner] = min(came.get(job.owner, job.enqueued_at), job.enqueued_at)
    in_order = sorted(waiting, key=lambda job: _place(job, came[job.owner], handicaps.get(job.owner, 0.0)))
    if not in_order:
        return None
    first, limit = in_order[0], limits[in_order[0].stage]
    like_it = [job for job in in_order if (job.stage, job.key) == (first.stage, first.key)]
    of_its_own = [job for job in like_it if job.owner == first.owner][: limit.n_windows]
    if allow_long and limit.is_long(of_its_own) and not any(job.is_first_window for job in waiting):
        return Batch(first.stage, tuple(of_its_own))
    jobs: list[Job] = []
    for job in like_it:
        if limit.holds([*jobs, job]):
            jobs.append(job)
    return Batch(first.stage, tuple(jobs))


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
    return form_batch([job for job in waiting if job.is_first_window], limits, handicaps, allow_long=False)


def _place(job: Job, owner_came: float, owners_handicap_s: float) -> tuple[float, bool]:
    return (owner_came if job.is_first_window else job.enqueued_at) + owners_handicap_s, not job.is_first_window
