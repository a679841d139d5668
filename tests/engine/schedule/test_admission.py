"""Limits of admission: open requests, queued audio and the expected wait."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from asr_service.access.caller import Caller
from asr_service.engine.schedule.admission import RECENT_S, Admission, Load
from asr_service.errors import CallerLimit, Overloaded

IDLE = Load(0, 0)


ALICE, BOB = Caller("alice"), Caller("bob")


def admission(load: Load = IDLE, n: int = 2, clock: Callable[[], float] = lambda: 0.0) -> Admission:
    return Admission(lambda: load, max_open_requests=n, max_queued_audio_s=100, max_wait_s=60, clock=clock)


def test_a_request_that_fails_frees_its_place():
    """Whatever it raises."""
    limited = admission()
    with limited.permit(), pytest.raises(RuntimeError, match="the request failed"), limited.permit():
        raise RuntimeError("the request failed")
    assert limited.open_requests == 0


def test_a_request_past_the_limit_of_open_requests_is_refused():
    """The refused request takes no place."""
    limited = admission()
    with limited.permit(), limited.permit():
        with pytest.raises(Overloaded), limited.permit():
            pass
        assert limited.open_requests == 2


@pytest.mark.parametrize(
    ("load", "retry_after_s"), [(Load(101, 30), 30), (Load(50, 61), 61), (Load(101, 0), 1), (Load(101, 500), 120)]
)
def test_a_refusal_names_the_expected_wait(load: Load, retry_after_s: float):
    """At least 1 s, and at most 120 s, after which official clients give up."""
    with pytest.raises(Overloaded) as refused:
        admission(load).check_queue()
    assert refused.value.retry_after_s == retry_after_s


def take(limited: Admission, caller: Caller, n: int = 1) -> ExitStack:
    """Hold n places until the stack is closed."""
    with ExitStack() as stack:
        for _ in range(n):
            stack.enter_context(limited.permit(caller))
        return stack.pop_all()


def test_a_caller_that_is_alone_may_hold_every_place():
    """The next caller is refused, and from then on the first one gets no place until it holds less than half."""
    limited = admission(n=4)
    half, other_half = take(limited, ALICE, 2), take(limited, ALICE, 2)
    with pytest.raises(Overloaded):
        take(limited, BOB)
    half.close()
    with pytest.raises(CallerLimit, match="You have 2 open requests"):
        take(limited, ALICE)
    with take(limited, BOB, 2), pytest.raises(CallerLimit):
        take(limited, BOB)
    other_half.close()
    assert limited.open_requests == 0
    assert not limited._open_by_caller


def test_a_caller_is_alone_a_minute_after_the_last_request_of_another():
    """Many other callers are no more than one."""
    now_s = 0.0
    limited = admission(n=4, clock=lambda: now_s)
    for number in range(9):
        take(limited, Caller(f"guest {number}")).close()
    with take(limited, ALICE, 2):
        with pytest.raises(CallerLimit):
            take(limited, ALICE)
        now_s = RECENT_S
        take(limited, ALICE, 2).close()
    assert len(limited._asked_at) == 2


def test_one_place_is_never_shared():
    """A slot with a single place serves the callers in turn."""
    limited = admission(n=1)
    for caller in (ALICE, BOB, ALICE):
        take(limited, caller).close()
