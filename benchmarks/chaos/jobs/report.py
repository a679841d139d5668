"""Check what became of the jobs of a fault, and format the table."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.chaos.jobs.ledger import LONGEST_REFUSAL_S, Refusal
from benchmarks.common.report import facts, table


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


@dataclass(frozen=True, slots=True)
class Row:
    """A fault's row of the table."""

    layout: str
    fault: str
    n_jobs: int = 0
    refusals: Mapping[str, int] | None = None
    longest_refusal_s: float = 0.0
    attempts: Mapping[int, int] | None = None
    """Number of jobs by attempts."""
    n_repeated_events: int = 0
    """Requests with the id of an event that had arrived before."""
    settled_s: float = 0.0
    """Time from the end of the fault until all jobs had ended and all events had arrived."""
    problems: tuple[str, ...] = ()
    note: str = ""
    skipped: str = ""
    """Why the fault was not tried."""

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok and not self.skipped}


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
        layout,
        fault,
        len(fates),
        dict(Counter(each.kind for each in refusals).most_common()),
        round(max((each.took_s for each in refusals), default=0.0), 1),
        dict(sorted(Counter(each.attempts for each in fates).items())),
        sum(len(each.webhook_ids) - len(set(each.webhook_ids)) for each in fates),
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
    tried = [each for each in rows if not each.skipped]
    failed = [each for each in tried if not each.ok]
    conclusion = f"{len(tried)} faults tried; {len(failed)} missed an expectation."
    return "\n\n".join(["# Jobs under faults", facts(about), table(_HEADS, map(cells, rows)), conclusion]) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    """Format the cells of a row."""
    if row.skipped:
        return (row.layout, row.fault, "-", "-", "-", "-", "-", "-", "not tried", row.skipped)
    return (
        row.layout,
        row.fault,
        str(row.n_jobs),
        ", ".join(f"{count} x {kind}" for kind, count in (row.refusals or {}).items()) or "-",
        f"{row.longest_refusal_s:.1f}",
        ", ".join(f"{count} x {attempts}" for attempts, count in (row.attempts or {}).items()) or "-",
        str(row.n_repeated_events),
        f"{row.settled_s:.0f}",
        "yes" if row.ok else "**no**",
        "; ".join([row.note, *row.problems] if row.note else row.problems),
    )
