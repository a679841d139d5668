"""Judging a fault: what may be lost, by whom, how soon it is told, and what the table says of it."""

from dataclasses import replace

import pytest

from benchmarks.chaos.__main__ import passing_of
from benchmarks.chaos.report import LOST, Blow, Death, Passing, Row, judge, markdown, row
from benchmarks.common.sender import GOOD, Outcome

DEATH = Death(slot=1, at_s=100.0, ready_s=104.0)
INSIDE = Outcome("inside", LOST, 99.0, 100.5)
WELL = Outcome("well", GOOD, 99.0, 101.0)
ONCE = {name: Passing(1, (slot,)) for name, slot in (("inside", 1), ("well", 0))}
KILLED = Blow((DEATH,))


def judged(*outcomes: Outcome, blow: Blow = KILLED, passings=None, transcribed=None) -> tuple[str, ...]:
    return judge(outcomes, blow, frozenset({"503 not_ready"}), passings or ONCE, transcribed or {"well": 1})


def test_what_was_inside_a_killed_worker_may_be_lost() -> None:
    """Told so within a second; the rest answered well, each by one slot, once."""
    assert judged(INSIDE, WELL) == ()


@pytest.mark.parametrize(
    ("outcome", "passings", "complaint"),
    [
        (replace(INSIDE, ended_s=103.0), ONCE, "only 3.0 s after"),
        (replace(INSIDE, sent_s=100.2), ONCE, "outside of a worker"),
        (replace(INSIDE, sent_s=97.0, ended_s=98.0), ONCE, "outside of a worker"),
        (INSIDE, {"inside": Passing(1, (0,))}, "outside of a worker"),
        (INSIDE, {"inside": Passing(1, (1, 0))}, "sent to 2 slots"),
        (INSIDE, {"inside": Passing(2, (1,))}, "answered 2 times"),
        (replace(WELL, kind="500 internal_error"), ONCE, "1 x 500 internal_error"),
        (replace(WELL, kind="503 not_ready"), ONCE, "without Retry-After"),
    ],
    ids=[
        "late",
        "sent-after",
        "ended-before",
        "another-slot",
        "sent-again",
        "answered-again",
        "not-allowed",
        "no-time",
    ],
)
def test_what_may_not_happen_is_told(outcome: Outcome, passings, complaint: str) -> None:
    (wrong,) = judged(outcome, passings=passings)
    assert complaint in wrong


def test_a_refusal_that_says_when_to_come_again_is_allowed() -> None:
    assert judged(replace(WELL, kind="503 not_ready", retry_after=True)) == ()


def test_a_recording_that_is_transcribed_twice_is_told() -> None:
    (wrong,) = judged(WELL, transcribed={"well": 2})
    assert wrong == "transcribed 2 times: well"


def test_a_slot_has_ten_seconds_from_when_its_model_can_be_loaded() -> None:
    late = replace(DEATH, ready_s=111.0)
    assert judged(WELL, blow=Blow((late,))) == ("ready again after 11.0 s",)
    assert judged(WELL, blow=Blow((replace(late, loadable_s=105.0),))) == ()
    assert judged(WELL, blow=Blow((replace(DEATH, ready_s=None),))) == ("ready again after inf s",)


def test_what_was_never_sent_to_a_slot_is_no_sending() -> None:
    """A slot that refused the connection has a dash in Nginx' log."""
    tried = {"upstream": "unix:/run/slot-1.sock, unix:/run/slot-0.sock", "upstream_connect_s": "-, 0.000"}
    assert passing_of([tried]) == Passing(1, (0,))
    assert passing_of([{"upstream": "", "upstream_connect_s": ""}]) == Passing(1, ())


def test_the_table_shows_what_was_missed() -> None:
    """A line a fault, with answers by kind, and the verdict."""
    blow = Blow((DEATH,), note="by hand")
    lines = [row("killed", 2, [INSIDE, WELL], blow, []), row("again", 1, [WELL], blow, ["bad"])]
    text = markdown({"machine": "two cores"}, [*lines, Row("full disk", skipped="needs root")])
    assert "| killed | 2 | 1 | 1 x 502 engine_stopped | 4.0 | 2.0 | yes | by hand |" in text
    assert "| again | 1 | 1 | - | 4.0 | 2.0 | **no** | by hand; bad |" in text
    assert "| full disk | - | - | - | - | - | not tried | needs root |" in text
    assert "2 faults tried, 1 with a goal missed." in text
