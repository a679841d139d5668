"""Checks of a fault's effects: which losses are allowed, when, and what the table shows."""

from dataclasses import replace

import pytest

from benchmarks.chaos.__main__ import routing
from benchmarks.chaos.report import LOST, Injection, Routing, Row, WorkerExit, check, markdown, row
from benchmarks.common.sender import GOOD, Outcome

EXIT = WorkerExit(slot=1, at_s=100.0, ready_s=104.0)
INSIDE = Outcome("inside", LOST, 99.0, 100.5)
OUTSIDE = Outcome("outside", GOOD, 99.0, 101.0)
ROUTED_ONCE = {name: Routing(1, (slot,)) for name, slot in (("inside", 1), ("outside", 0))}
KILLED = Injection((EXIT,))


def problems(*outcomes: Outcome, injection: Injection = KILLED, routings=None, n_transcribed=None) -> tuple[str, ...]:
    allowed = frozenset({"503 not_ready"})
    return check(outcomes, injection, allowed, routings or ROUTED_ONCE, n_transcribed or {"outside": 1})


def test_a_request_inside_a_killed_worker_may_be_lost() -> None:
    """The client must learn it within a second. All other requests must succeed, each in one slot, once."""
    assert problems(INSIDE, OUTSIDE) == ()


@pytest.mark.parametrize(
    ("outcome", "routings", "problem"),
    [
        (replace(INSIDE, ended_s=103.0), ROUTED_ONCE, "3.0 s after the worker's exit"),
        (replace(INSIDE, sent_s=100.2), ROUTED_ONCE, "although no worker exited"),
        (replace(INSIDE, sent_s=97.0, ended_s=98.0), ROUTED_ONCE, "although no worker exited"),
        (INSIDE, {"inside": Routing(1, (0,))}, "although no worker exited"),
        (INSIDE, {"inside": Routing(1, (1, 0))}, "sent to 2 slots"),
        (INSIDE, {"inside": Routing(2, (1,))}, "answered 2 times"),
        (replace(OUTSIDE, kind="500 internal_error"), ROUTED_ONCE, "1 x 500 internal_error"),
        (replace(OUTSIDE, kind="503 not_ready"), ROUTED_ONCE, "without Retry-After"),
    ],
    ids=[
        "late-response",
        "sent-after-the-exit",
        "ended-before-the-exit",
        "in-another-slot",
        "sent-twice",
        "answered-twice",
        "status-not-allowed",
        "no-retry-after",
    ],
)
def test_effects_that_are_not_allowed_are_reported(outcome: Outcome, routings, problem: str) -> None:
    (found,) = problems(outcome, routings=routings)
    assert problem in found


def test_a_refusal_with_retry_after_is_allowed() -> None:
    assert problems(replace(OUTSIDE, kind="503 not_ready", retry_after=True)) == ()


def test_a_recording_that_is_transcribed_twice_is_reported() -> None:
    (found,) = problems(OUTSIDE, n_transcribed={"outside": 2})
    assert found == "transcribed 2 times: outside"


def test_a_slot_must_be_ready_ten_seconds_after_its_model_can_be_loaded() -> None:
    late = replace(EXIT, ready_s=111.0)
    assert problems(OUTSIDE, injection=Injection((late,))) == ("ready again after 11.0 s",)
    assert problems(OUTSIDE, injection=Injection((replace(late, loadable_s=105.0),))) == ()
    assert problems(OUTSIDE, injection=Injection((replace(EXIT, ready_s=None),))) == ("ready again after inf s",)


def test_a_refused_connection_is_not_part_of_the_routing() -> None:
    """Nginx logs a dash as the connect time of a slot that refused the connection."""
    tried = {"upstream": "unix:/run/slot-1.sock, unix:/run/slot-0.sock", "upstream_connect_s": "-, 0.000"}
    assert routing([tried]) == Routing(1, (0,))
    assert routing([{"upstream": "", "upstream_connect_s": ""}]) == Routing(1, ())


def test_the_table_shows_responses_problems_and_skipped_faults() -> None:
    injection = Injection((EXIT,), note="a note")
    rows = [row("killed", 2, [INSIDE, OUTSIDE], injection, []), row("repeated", 1, [OUTSIDE], injection, ["bad"])]
    text = markdown({"machine": "two cores"}, [*rows, Row(fault="full disk", skipped="needs root")])
    assert "| killed | 2 | 1 | 1 x 502 engine_stopped | 4.0 | 2.0 | yes | a note |" in text
    assert "| repeated | 1 | 1 | - | 4.0 | 2.0 | **no** | a note; bad |" in text
    assert "| full disk | - | - | - | - | - | not tried | needs root |" in text
    assert "2 faults tried; 1 missed an expectation." in text
