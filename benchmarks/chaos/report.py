"""Check that a fault had only the allowed effects, and format the table of faults."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.chaos.rows import FaultRow, counted
from benchmarks.chaos.rows import markdown as rows_markdown
from benchmarks.common.sender import DISCONNECTED, GOOD, Outcome

LOST = "502 engine_stopped"
LOST_WITHIN_S = 1.0
READY_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """The exit of a worker and the recovery of its slot. Times are seconds of the wall clock."""

    slot: int
    at_s: float
    loadable_s: float | None = None
    """When the model could be loaded again. None if that was possible at once."""
    ready_s: float | None = None
    """When the next worker was ready. None if it never was."""

    @property
    def recovery_s(self) -> float:
        return float("inf") if self.ready_s is None else self.ready_s - (self.loadable_s or self.at_s)


@dataclass(frozen=True, slots=True)
class Injection:
    """What the injection of a fault did and observed."""

    exits: tuple[WorkerExit, ...] = ()
    own: tuple[Outcome, ...] = ()
    """Outcomes of the requests that the injection sent in addition to the load."""
    problems: tuple[str, ...] = ()
    """Expectations that were not met."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Routing:
    """How Nginx routed a request."""

    n_responses: int
    slots: tuple[int, ...]
    """Slots that the request was sent to, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(FaultRow):
    """A fault under load."""

    n_sent: int = 0
    responses: Mapping[str, int] | None = None
    recovery_s: float | None = None
    slowest_s: float = 0.0

    def observed(self) -> tuple[str, ...]:
        responses = dict(self.responses or {})
        return (
            str(self.n_sent),
            str(responses.pop(GOOD, 0)),
            counted(responses),
            "-" if self.recovery_s is None else f"{self.recovery_s:.1f}",
            f"{self.slowest_s:.1f}",
        )


def check(
    load: Sequence[Outcome],
    injection: Injection,
    allowed: frozenset[str],
    routings: Mapping[str, Routing],
    n_transcribed: Mapping[str, int],
) -> tuple[str, ...]:
    """Return the problems of a fault.

    `allowed` are the kinds of responses that the load may get in addition to successful ones, and to LOST for requests
    inside a worker that exited. `n_transcribed` is how often the service finished each request's transcript.
    """
    bad = Counter(_problem(each, injection, allowed, routings.get(each.request_id)) for each in load)
    lost = [each for each in injection.own if each.kind == LOST]
    bad.update(_problem_of_lost(each, injection.exits, routings.get(each.request_id)) for each in lost)
    del bad[""]
    problems = [f"{count} x {problem}" for problem, count in bad.items()]
    problems += [f"sent to {len(each.slots)} slots: {name}" for name, each in routings.items() if len(each.slots) > 1]
    problems += [
        f"answered {each.n_responses} times: {name}" for name, each in routings.items() if each.n_responses != 1
    ]
    problems += [f"transcribed {n} times: {name}" for name, n in n_transcribed.items() if n > 1]
    recovery_s = max((each.recovery_s for each in injection.exits), default=0.0)
    if recovery_s > READY_WITHIN_S:
        problems.append(f"ready again after {recovery_s:.1f} s")
    return (*injection.problems, *problems)


def _problem(outcome: Outcome, injection: Injection, allowed: frozenset[str], routing: Routing | None) -> str:
    """Return what is wrong with an outcome, or an empty string."""
    if outcome.kind == GOOD:
        return ""
    if outcome.kind == LOST:
        return _problem_of_lost(outcome, injection.exits, routing)
    if outcome.kind not in allowed:
        return outcome.kind
    if outcome.kind.startswith("503") and not outcome.retry_after:
        return f"{outcome.kind} without Retry-After"
    return ""


def _problem_of_lost(outcome: Outcome, exits: Iterable[WorkerExit], routing: Routing | None) -> str:
    slots = routing.slots if routing else ()
    # The log reports the exit of a worker that this program did not kill a moment after it happened.
    latest_s = outcome.ended_s + LOST_WITHIN_S
    inside = [each for each in exits if each.slot in slots and outcome.sent_s <= each.at_s <= latest_s]
    if not inside:
        return f"{LOST} although no worker exited"
    late_s = min(outcome.ended_s - each.at_s for each in inside)
    return f"{LOST} {late_s:.1f} s after the worker's exit" if late_s > LOST_WITHIN_S else ""


def row(fault: str, n_sent: int, outcomes: Sequence[Outcome], injection: Injection, problems: Sequence[str]) -> Row:
    recoveries = [each.recovery_s for each in injection.exits]
    answered = [each for each in outcomes if each.kind != DISCONNECTED]
    return Row(
        fault=fault,
        n_sent=n_sent,
        responses=dict(Counter(each.kind for each in outcomes).most_common()),
        recovery_s=round(max(recoveries), 2) if recoveries else None,
        slowest_s=round(max((each.duration_s for each in answered), default=0.0), 2),
        problems=tuple(problems),
        note=injection.note,
    )


def markdown(about: Mapping[str, str], rows: Sequence[Row]) -> str:
    heads = ("fault", "sent", "200", "others", "ready again, s", "slowest response, s", "ok", "remarks")
    return rows_markdown("Faults under load", about, heads, rows)
