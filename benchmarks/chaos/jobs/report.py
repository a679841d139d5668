"""Check what became of the jobs of a fault, and format the table."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos.jobs.ledger import LONGEST_REFUSAL_S, Refusal
from benchmarks.chaos.rows import FaultRow, counted
from benchmarks.chaos.rows import markdown as rows_markdown


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the job of one Idempotency-Key."""

    job_ids: tuple[str, ...]
    """The ids that the submissions with the key were answered. All must be equal."""
    status: str
    """The job's status, or `lost`."""
    attempts: int
    is_right: bool
    """Whether its transcript is the one of an undisturbed job with the same recording."""
    webhook_ids: tuple[str, ...]
    """The ids of the events that arrived, with repetitions."""
    n_signed: int
    """Those with a valid signature."""
    is_listed_as_failed: bool
    """Whether the job says that its event could not be delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(FaultRow):
    """A fault of a layout."""

    layout: str
    n_jobs: int = 0
    refusals: Mapping[str, int] | None = None
    longest_refusal_s: float = 0.0
    attempts: Mapping[int, int] | None = None
    """Number of jobs by attempts."""
    n_repeated_events: int = 0
    """Requests with the id of an event that had arrived before."""
    settled_s: float = 0.0
    """Time from the end of the fault until all jobs had ended and all events had arrived."""

    def names(self) -> tuple[str, ...]:
        return (self.layout, self.fault)

    def observed(self) -> tuple[str, ...]:
        return (
            str(self.n_jobs),
            counted(self.refusals),
            f"{self.longest_refusal_s:.1f}",
            counted(self.attempts),
            str(self.n_repeated_events),
            f"{self.settled_s:.0f}",
        )


def find_problems(fates: Sequence[Fate], refusals: Sequence[Refusal], allowed: Collection[str]) -> tuple[str, ...]:
    """Return the expectations that were missed. `allowed` has the beginnings of the kinds of refusals."""
    found = Counter(problem for fate in fates for problem in _problems_of(fate))
    found.update(problem for refusal in refusals if (problem := _problem_of_refusal(refusal, allowed)))
    return tuple(f"{count} x {problem}" for problem, count in found.items())


def _problems_of(fate: Fate) -> list[str]:
    found = []
    if len(set(fate.job_ids)) != 1:
        found.append("several jobs for one Idempotency-Key")
    if fate.status != "succeeded":
        found.append(f"an accepted job is {fate.status}")
    elif not fate.is_right:
        found.append("another transcript")
    if len(set(fate.webhook_ids)) > 1:
        found.append("several events of one job")
    if not fate.webhook_ids and not fate.is_listed_as_failed:
        found.append("an event is missing")
    if fate.n_signed != len(fate.webhook_ids):
        found.append("an event without a valid signature")
    return found


def _problem_of_refusal(refusal: Refusal, allowed: Collection[str]) -> str:
    if not refusal.kind.startswith(tuple(allowed)):
        return refusal.kind
    if refusal.kind.startswith("503") and not refusal.has_retry_after:
        return f"{refusal.kind} without Retry-After"
    if refusal.took_s > LONGEST_REFUSAL_S:
        return f"{refusal.kind} after more than {LONGEST_REFUSAL_S:.0f} s"
    return ""


def row_of(
    layout: str, fault: str, fates: Sequence[Fate], refusals: Sequence[Refusal], problems: Sequence[str], **given: Any
) -> Row:
    return Row(
        layout=layout,
        fault=fault,
        n_jobs=len(fates),
        refusals=dict(Counter(each.kind for each in refusals).most_common()),
        longest_refusal_s=round(max((each.took_s for each in refusals), default=0.0), 1),
        attempts=dict(sorted(Counter(each.attempts for each in fates).items())),
        n_repeated_events=sum(len(each.webhook_ids) - len(set(each.webhook_ids)) for each in fates),
        problems=tuple(problems),
        **given,
    )


_HEADS = (
    "layout",
    "fault",
    "jobs",
    "refused submissions",
    "slowest refusal, s",
    "jobs by attempts",
    "events sent again",
    "all settled after, s",
    "ok",
    "remarks",
)


def markdown(about: Mapping[str, str], rows: Sequence[Row]) -> str:
    return rows_markdown("Jobs under faults", about, _HEADS, rows)
