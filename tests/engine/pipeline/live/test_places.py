"""Which session gives up its place for another one."""

import pytest

from asr_service.access.caller import Caller
from asr_service.engine.pipeline.live.events import EndReason
from asr_service.engine.pipeline.live.places import SILENT_S, Holder, place_to_take

SILENT, YIELDED = EndReason.SILENT, EndReason.YIELDED


def holders(callers: str, silent_s: dict[int, float] | None = None) -> list[Holder]:
    """Return one session for each letter, in the order of their opening."""
    return [Holder(Caller(name), (silent_s or {}).get(at, 0.0)) for at, name in enumerate(callers)]


@pytest.mark.parametrize(
    ("callers", "asks", "taken"),
    [
        ("", "a", None),
        ("aaaa", "a", None),
        ("aaaa", "b", (3, YIELDED)),
        ("abaa", "b", (3, YIELDED)),
        ("aabb", "b", None),
        ("aabb", "c", (3, YIELDED)),
        ("abab", "c", (3, YIELDED)),
        ("bbaa", "c", (3, YIELDED)),
        ("abc", "d", None),
        ("a", "b", None),
    ],
)
def test_places_become_equal_shares(callers, asks, taken):
    """The caller with the most sessions gives up its newest one, if it still has as many as the one who asks."""
    assert place_to_take(Caller(asks), holders(callers), is_full=True) == taken


def test_a_silent_session_goes_before_one_that_speaks():
    """Whoever it belongs to, the one that has been silent longest."""
    silent = holders("abcd", {1: SILENT_S, 2: SILENT_S + 1})
    for asks in "abz":
        assert place_to_take(Caller(asks), silent, is_full=True) == (2, SILENT)
    assert place_to_take(Caller("a"), holders("ab", {0: SILENT_S - 1}), is_full=True) is None


def test_the_end_of_a_silent_session_does_not_help_a_model_that_is_too_busy():
    """One that speaks makes room, since another one speaks in its place."""
    assert place_to_take(Caller("b"), holders("a", {0: 999}), is_full=False) is None
    assert place_to_take(Caller("b"), holders("aa"), is_full=False) == (1, YIELDED)
