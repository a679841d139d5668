"""Who is let in."""

import pytest

from asr_service.engine.schedule.admission import Admission, Load
from asr_service.errors import Overloaded

IDLE = Load(0, 0)


def admission(load: Load = IDLE) -> Admission:
    return Admission(lambda: load, max_open_requests=2, max_queued_audio_s=100, max_wait_s=60)


def test_a_place_is_free_again_when_it_is_left():
    """Whatever ended the request."""
    door = admission()
    with door.permit(), pytest.raises(RuntimeError, match="the request failed"), door.permit():
        raise RuntimeError("the request failed")
    assert door.open_requests == 0


def test_past_the_open_requests_the_answer_is_to_come_again():
    """The refused one takes no place."""
    door = admission()
    with door.permit(), door.permit():
        with pytest.raises(Overloaded), door.permit():
            pass
        assert door.open_requests == 2


@pytest.mark.parametrize(
    ("load", "retry_after_s"), [(Load(101, 30), 30), (Load(50, 61), 61), (Load(101, 0), 1), (Load(101, 500), 120)]
)
def test_past_the_queue_it_says_when(load: Load, retry_after_s: float):
    """The expected wait, at least 1 s and at most 120 s, after which official clients give up."""
    with pytest.raises(Overloaded) as refused, admission(load).permit():
        pass
    assert refused.value.retry_after_s == retry_after_s
