"""The recent usage of callers, which orders their windows."""

from asr_service.access.caller import Caller
from asr_service.engine.schedule.caller_usage import HALF_LIFE_S, LEVEL_AUDIO_S, CallerUsage

ALICE, BOB = Caller("alice"), Caller("bob")


def test_usage_is_counted_in_windows_and_halves_with_time():
    """A caller that had the model to itself is soon equal to others again, and forgotten."""
    usage = CallerUsage()
    usage.add(ALICE, 8 * LEVEL_AUDIO_S, now=100.0)
    assert usage.levels([ALICE, BOB], 100.0) == {ALICE: 8, BOB: 0}
    assert usage.levels([ALICE], 100.0 + 2 * HALF_LIFE_S) == {ALICE: 2}
    usage.add(BOB, LEVEL_AUDIO_S, now=100.0 + 2 * HALF_LIFE_S)
    assert usage.levels([ALICE, BOB], 100.0 + 2 * HALF_LIFE_S) == {ALICE: 2, BOB: 1}
    usage.add(BOB, 1.0, now=100.0 + 20 * HALF_LIFE_S)
    assert list(usage._audio_s) == [BOB]
