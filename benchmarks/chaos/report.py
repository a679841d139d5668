"""What a fault may cost, and the table of what each did."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.common.sender import GOOD, LEFT, Outcome

LOST = "502 engine_stopped"
LOST_WITHIN_S = 1.0
READY_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Death:
    """A worker ended. Times are the wall clock's, in seconds."""

    slot: int
    at_s: float
    loadable_s: float | None = None
    """Since when its successor's model could be loaded, where that was not at once."""
    ready_s: float | None = None
    """When the successor was ready; None where it never was."""

    @property
    def recovery_s(self) -> float:
        return float("inf") if self.ready_s is None else self.ready_s - (self.loadable_s or self.at_s)


@dataclass(frozen=True, slots=True)
class Blow:
    """What an injection did and saw."""

    deaths: tuple[Death, ...] = ()
    own: tuple[Outcome, ...] = ()
    """Of the requests that it sent beside the load."""
    problems: tuple[str, ...] = ()
    """What was promised and did not come about."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Passing:
    """How Nginx passed a request on."""

    n_answers: int
    slots: tuple[int, ...]
    """That the request was sent to, in order."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault's line in the table."""

    fault: str
    n_sent: int = 0
    answers: Mapping[str, int] | None = None
    recovery_s: float | None = None
    slowest_s: float = 0.0
    problems: tuple[str, ...] = ()
    note: str = ""
    skipped: str = ""
    """Why it was not tried."""

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok and not self.skipped}


def judge(
    load: Sequence[Outcome],
    blow: Blow,
    allowed: frozenset[str],
    passings: Mapping[str, Passing],
    transcribed: Mapping[str, int],
) -> tuple[str, ...]:
    """What was not as it should be.

    `allowed` are kinds of the load's answers, beside the good ones and those of requests inside a worker that ended.
    `transcribed` says how often the service came to a request's transcript.
    """
    bad = Counter(_complaint(each, blow, allowed, passings.get(each.request_id)) for each in load)
    lost = [each for each in blow.own if each.kind == LOST]
    bad.update(_complaint_of_lost(each, blow.deaths, passings.get(each.request_id)) for each in lost)
    del bad[""]
    wrong = [f"{count} x {complaint}" for complaint, count in bad.items()]
    wrong += [f"sent to {len(passing.slots)} slots: {name}" for name, passing in passings.items() if _repeated(passing)]
    wrong += [f"answered {p.n_answers} times: {name}" for name, p in passings.items() if p.n_answers != 1]
    wrong += [f"transcribed {n} times: {name}" for name, n in transcribed.items() if n > 1]
    slow = max((death.recovery_s for death in blow.deaths), default=0.0)
    if slow > READY_WITHIN_S:
        wrong.append(f"ready again after {slow:.1f} s")
    return (*blow.problems, *wrong)


def _repeated(passing: Passing) -> bool:
    return len(passing.slots) > 1


def _complaint(outcome: Outcome, blow: Blow, allowed: frozenset[str], passing: Passing | None) -> str:
    """What is wrong with the answer; empty where nothing is."""
    if outcome.kind == GOOD:
        return ""
    if outcome.kind == LOST:
        return _complaint_of_lost(outcome, blow.deaths, passing)
    if outcome.kind not in allowed:
        return outcome.kind
    if outcome.kind.startswith("503") and not outcome.retry_after:
        return f"{outcome.kind} without Retry-After"
    return ""


def _complaint_of_lost(outcome: Outcome, deaths: Iterable[Death], passing: Passing | None) -> str:
    slots = passing.slots if passing else ()
    # The end of a worker that did not end by our hand is known from the log, a moment after it.
    known_s = outcome.ended_s + LOST_WITHIN_S
    inside = [death for death in deaths if death.slot in slots and outcome.sent_s <= death.at_s <= known_s]
    if not inside:
        return f"{LOST} outside of a worker that ended"
    late_s = min(outcome.ended_s - death.at_s for death in inside)
    return f"{LOST} only {late_s:.1f} s after the worker's end" if late_s > LOST_WITHIN_S else ""


def row(fault: str, n_sent: int, outcomes: Sequence[Outcome], blow: Blow, problems: Sequence[str]) -> Row:
    recoveries = [death.recovery_s for death in blow.deaths]
    answered = [each for each in outcomes if each.kind != LEFT]
    return Row(
        fault,
        n_sent,
        dict(Counter(each.kind for each in outcomes).most_common()),
        round(max(recoveries), 2) if recoveries else None,
        round(max((each.lasted_s for each in answered), default=0.0), 2),
        tuple(problems),
        blow.note,
    )


def markdown(about: Mapping[str, str], rows: Sequence[Row]) -> str:
    tried = [each for each in rows if not each.skipped]
    missed = [each for each in tried if not each.ok]
    lines = ["# Faults under load", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["| fault | sent | 200 | others | ready again, s | slowest answer, s | ok | |", "| --- " * 8 + "|"]
    lines += [line(each) for each in rows]
    lines += ["", f"{len(tried)} faults tried, {len(missed)} with a goal missed.", ""]
    return "\n".join(lines)


def line(row: Row) -> str:
    if row.skipped:
        return f"| {row.fault} | - | - | - | - | - | not tried | {row.skipped} |"
    answers = row.answers or {}
    others = ", ".join(f"{count} x {kind}" for kind, count in answers.items() if kind != GOOD) or "-"
    recovery = "-" if row.recovery_s is None else f"{row.recovery_s:.1f}"
    remarks = "; ".join([row.note, *row.problems] if row.note else row.problems)
    verdict = "yes" if row.ok else "**no**"
    return (
        f"| {row.fault} | {row.n_sent} | {answers.get(GOOD, 0)} | {others} | {recovery} | {row.slowest_s:.1f} |"
        f" {verdict} | {remarks} |"
    )
