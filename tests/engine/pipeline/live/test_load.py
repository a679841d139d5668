"""How many live sessions a slot admits, and how often they get partial texts."""

import pytest

from asr_service.engine.pipeline.live.agreement import Caution
from asr_service.engine.pipeline.live.load import LiveLoad, Pace
from asr_service.errors import Overloaded

CAUTION = Caution(n_agreeing=2, n_held_back=1, interval_s=0.4)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def measured(*, model_s: float, audio_s: float = 5.0, n_threads: int = 2) -> LiveLoad:
    """Return the load of a slot whose model takes so long for a final text."""
    load = LiveLoad(n_threads)
    for _ in range(20):
        load.note_final(model_s, audio_s, delay_s=model_s)
    return load


def test_the_capacity_follows_from_the_measured_speed():
    """Final texts of all sessions together take half of the model's time, if all speak at once."""
    assert LiveLoad(2).capacity == 4
    assert measured(model_s=0.5).capacity == 10
    assert measured(model_s=0.5, n_threads=4).capacity == 20
    assert measured(model_s=50.0).capacity == 1


def test_the_capacity_is_shown_when_it_may_have_changed():
    """The metric of places has the first value before anything was measured."""
    shown: list[int] = []
    load = LiveLoad(2, on_capacity=shown.append)
    load.note_final(1.0, 5.0, delay_s=1.0)
    assert shown == [4, 5]


def test_a_session_too_many_is_refused_with_the_time_to_retry():
    """The limit is that of the measured speed."""
    load = measured(model_s=1.0)
    load.n_sessions = load.capacity - 1
    load.check_room()
    load.n_sessions += 1
    with pytest.raises(Overloaded) as refused:
        load.check_room()
    assert refused.value.retry_after_s > 0


def test_no_session_is_added_while_final_texts_are_late():
    """Other work may make the model slower than it was. After 20 s without a late text, sessions are admitted again."""
    clock = Clock()
    load = LiveLoad(8, clock)
    load.n_sessions = 1
    for _ in range(3):
        load.note_final(0.1, 5.0, delay_s=3.0)
    with pytest.raises(Overloaded):
        load.check_room()
    clock.now += 21
    load.check_room()


def test_partial_texts_thin_out_as_more_people_speak():
    """They take at most 40 % of the model's time; with one speaker, the delay of the options decides."""
    load = LiveLoad(2)
    for _ in range(20):
        load.note_partial(0.2)
    load.n_speaking = 1
    assert load.interval_s(CAUTION) == 0.4
    load.n_speaking = 8
    assert load.interval_s(CAUTION) == pytest.approx(2.0)


def test_nothing_is_decoded_in_case_when_there_is_no_time():
    """Final texts are begun in pauses only while they take a quarter of the model's time."""
    load = measured(model_s=0.5)
    load.n_speaking = 5
    assert load.allows_early
    load.n_speaking = 6
    assert not load.allows_early


def test_who_sends_faster_than_real_time_is_not_live():
    """A quarter of a minute may come at once. Then the session is live again when the time has passed."""
    clock = Clock()
    pace = Pace(clock)
    clock.now += 1000
    pace.note_audio(15)
    assert pace.is_live
    pace.note_audio(1)
    assert not pace.is_live
    clock.now += 2
    assert pace.is_live


def test_who_commits_many_short_turns_is_not_live():
    """Ten in a second take more of the model's time than speech does."""
    clock = Clock()
    pace = Pace(clock)
    for _ in range(50):
        clock.now += 0.1
        pace.note_audio(0.1)
        pace.note_window(0.1)
    assert not pace.is_live
