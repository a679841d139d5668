"""Chooses the live session that gives up its place, if there is none for another one. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asr_service.access.caller import Caller
from asr_service.engine.pipeline.live.events import EndReason

SILENT_S: Final = 60.0
"""A session without audio for this time gives its place to one that needs it. A muted microphone may send nothing."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An open session that holds a place."""

    caller: Caller
    silent_s: float
    """Seconds since its latest audio."""


def place_to_take(caller: Caller, holders: Sequence[Holder], *, is_full: bool) -> tuple[int, EndReason] | None:
    """Return which session gives up its place for one of `caller`, and why; None if `caller` has to wait.

    `holders` are in the order of their opening. `is_full` says that all places are taken; otherwise the model is too
    busy for one more session, and the end of a silent one would not help.

    The session that has been silent longest goes first, if that is at least SILENT_S. Else the caller with the most
    sessions gives up its newest one, if it still has no fewer than `caller` then: the places become equal shares.
    """
    if is_full and holders:
        longest_s, at = max((holder.silent_s, at) for at, holder in enumerate(holders))
        if longest_s >= SILENT_S:
            return at, EndReason.SILENT
    n_held = Counter(holder.caller for holder in holders)
    newest = {holder.caller: at for at, holder in enumerate(holders)}
    largest = max(n_held, key=lambda each: (n_held[each], newest[each]), default=caller)
    if n_held[largest] <= n_held[caller] + 1:
        return None
    return newest[largest], EndReason.YIELDED
