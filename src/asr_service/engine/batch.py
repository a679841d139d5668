"""Which waiting jobs go to the model next, together. Pure functions: no threads, no clock, no model."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, zip_longest
from typing import Any


class Stage(StrEnum):
    """What the model does with a window, in this order."""

    ENCODE = "encode"
    GENERATE = "generate"
    ALIGN = "align"


@dataclass(slots=True, eq=False)
class Job:
    """One window's turn in one stage.

    Jobs with the same `stage` and `key` may share a call of the model; `owner` is the request, for fairness;
    times are monotonic seconds. `future` gets the stage's result, or the error.
    """

    stage: Stage
    key: Hashable
    owner: int
    payload: Any
    audio_s: float
    deadline: float
    enqueued_at: float
    future: Future[Any] = field(default_factory=Future)
    started_at: float = 0.0
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    stage: Stage
    jobs: tuple[Job, ...]


MAX_AGE_S = 1.0
"""A job older than this goes before fuller batches."""


def form_batch(
    waiting: Sequence[Job], limits: Mapping[Stage, int], last_turn: Mapping[int, int], now: float
) -> Batch | None:
    """Choose the jobs of the next call of the model; None where nothing waits.

    Full batches of later stages go first, since they free memory and finish requests; else windows are encoded, which
    fills those batches; else a part-filled batch goes at once: an idle model never waits for company. Within a batch
    the requests take turns, those served longest ago first (`last_turn`: owner -> a number that grows).
    """
    groups = _grouped(waiting)
    if not groups:
        return None
    best = min(groups.values(), key=lambda jobs: _rank(jobs, limits[jobs[0].stage], last_turn, now))
    stage = best[0].stage
    return Batch(stage, tuple(_in_turns(best, last_turn)[: limits[stage]]))


def _grouped(waiting: Iterable[Job]) -> dict[tuple[Stage, Hashable], list[Job]]:
    groups: dict[tuple[Stage, Hashable], list[Job]] = {}
    for job in waiting:
        groups.setdefault((job.stage, job.key), []).append(job)
    return groups


def _rank(jobs: list[Job], limit: int, last_turn: Mapping[int, int], now: float) -> tuple[int, int, float]:
    oldest = min(job.enqueued_at for job in jobs)
    turn = min(last_turn.get(job.owner, -1) for job in jobs)
    return _precedence(jobs[0].stage, len(jobs) >= limit or now - oldest > MAX_AGE_S), turn, oldest


def _precedence(stage: Stage, due: bool) -> int:
    if stage is Stage.ALIGN:
        return 0
    if stage is Stage.ENCODE:
        return 2
    return 1 if due else 3


def _in_turns(jobs: list[Job], last_turn: Mapping[int, int]) -> list[Job]:
    """One job of each owner, then the second of each, and so on."""
    by_owner: dict[int, list[Job]] = {}
    for job in jobs:
        by_owner.setdefault(job.owner, []).append(job)
    key: Callable[[int], int] = lambda owner: last_turn.get(owner, -1)  # noqa: E731
    rounds = zip_longest(*(by_owner[owner] for owner in sorted(by_owner, key=key)))
    return [job for job in chain.from_iterable(rounds) if job is not None]
