"""Limits of admission: open requests, queued audio and the expected wait."""

import pytest

from asr_service.engine.schedule.admission import Admission, Load
from asr_service.errors import Overloaded

IDLE = Load(0, 0)


def admission(load: Load = IDLE) -> Admission:
    return Admission(lambda: load, max_open_requests=2, max_queued_audio_s=100, max_wait_s=60)


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
    with pytest.raises(Overloaded) as refused, admission(load).permit():
        pass
    assert refused.value.retry_after_s == retry_after_s
