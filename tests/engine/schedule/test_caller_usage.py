"""The recent usage of callers, which orders their windows."""

from asr_service.access.caller import Caller
from asr_service.engine.schedule.caller_usage import LEVEL_AUDIO_S, MIN_HALF_LIFE_S, CallerUsage

ALICE, BOB = Caller("alice"), Caller("bob")


def test_usage_is_counted_in_windows_and_halves_with_time():
    """A caller that had the model to itself is soon equal to others again, and forgotten."""
    usage = CallerUsage(lambda audio_s: audio_s / 100)
    usage.add(ALICE, 8 * LEVEL_AUDIO_S, now=100.0)
    assert usage.levels([ALICE, BOB], 100.0) == {ALICE: 8, BOB: 0}
    assert usage.levels([ALICE], 100.0 + 2 * MIN_HALF_LIFE_S) == {ALICE: 2}
    usage.add(BOB, LEVEL_AUDIO_S, now=100.0 + 2 * MIN_HALF_LIFE_S)
    assert usage.levels([ALICE, BOB], 100.0 + 2 * MIN_HALF_LIFE_S) == {ALICE: 2, BOB: 1}
    usage.add(BOB, 1.0, now=100.0 + 20 * MIN_HALF_LIFE_S)
    assert list(usage._audio_s) == [BOB]


def test_usage_of_a_slow_model_decays_more_slowly():
    """It takes a window in the time of one, so windows of earlier calls must still count."""
    usage = CallerUsage(lambda audio_s: audio_s)
    usage.add(ALICE, 2 * LEVEL_AUDIO_S, now=100.0)
    assert usage.levels([ALICE], 160.0) == {ALICE: 1}
