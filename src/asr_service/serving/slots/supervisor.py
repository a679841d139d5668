"""Which worker has which slot, and when a free slot may be tried again. Pure: the clock comes in."""

import signal
from dataclasses import dataclass

from asr_service.errors import ConfigurationError, ModelUnavailable, StartupError
from asr_service.hardware.devices import Slot

STARTUP_FAILURES: dict[int, type[StartupError]] = {
    failure.exit_code: failure for failure in (ConfigurationError, ModelUnavailable)
}
"""Exit codes that more tries will hardly cure."""

_FROM_OUTSIDE = (0, -signal.SIGKILL)
"""Ends that say nothing of the worker: it was asked to end, or somebody or the kernel ended it."""


@dataclass(slots=True)
class _SlotRecord:
    slot: Slot
    pid: int | None = None
    taken: bool = False
    taken_at_s: float = 0
    n_starts: int = 0
    n_never_ready: int = 0
    """Workers in a row that ended before they were ready."""
    n_short_lived: int = 0
    """Workers in a row that were ready and failed soon after."""
    free_from_s: float = 0
    last_exit: int | None = None
    last_reason: str = ""


class SlotSupervisor:
    """The master's book of its slots. A worker that never became ready makes its slot wait, twice as long each time.

    One that was ready is replaced at once. But where one after the other fails within `min_uptime_s` of its start, the
    slot waits too: a GPU that loads the model and fails at work would draw all requests, as it always has the fewest.
    """

    def __init__(self, slots: tuple[Slot, ...], *, first_s: float, most_s: float, min_uptime_s: float) -> None:
        self._records = [_SlotRecord(slot) for slot in slots]
        self._first_s = first_s
        self._most_s = most_s
        self._min_uptime_s = min_uptime_s
        self._ever_ready = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(record.slot for record in self._records)

    def next_due(self, now_s: float) -> Slot | None:
        """Find the lowest free slot whose wait is over."""
        free = (record for record in self._records if not record.taken and record.free_from_s <= now_s)
        return next((record.slot for record in free), None)

    def take(self, index: int, now_s: float) -> bool:
        """A worker is about to start in the slot. True if it stands in for one that ended."""
        record = self._records[index]
        record.taken, record.taken_at_s, record.pid = True, now_s, None
        record.n_starts += 1
        return record.n_starts > 1

    def started(self, index: int, pid: int) -> None:
        self._records[index].pid = pid

    def release(self, index: int, now_s: float, *, exit_code: int, was_ready: bool, reason: str = "") -> float:
        """The slot's worker has ended, and said why. Returns the seconds until the slot is tried again."""
        record = self._records[index]
        record.taken, record.pid, record.last_exit, record.last_reason = False, None, exit_code, reason
        self._ever_ready |= was_ready
        if not was_ready:
            record.n_never_ready += 1
            wait_s = self._wait_s(record.n_never_ready)
        else:
            failed_soon = exit_code not in _FROM_OUTSIDE and now_s - record.taken_at_s < self._min_uptime_s
            record.n_never_ready = 0
            record.n_short_lived = record.n_short_lived + 1 if failed_soon else 0
            wait_s = self._wait_s(record.n_short_lived - 1)  # the first is a chance
        record.free_from_s = now_s + wait_s
        return wait_s

    def retry_now(self, *indices: int) -> None:
        """Forget the waits of these slots: the operator asked for a reload."""
        for index in indices:
            self._records[index].free_from_s = 0

    def pid(self, index: int) -> int | None:
        return self._records[index].pid

    def exit_code(self, index: int) -> int:
        """How the slot's last worker ended; 0 if none has."""
        return self._records[index].last_exit or 0

    def reason(self, index: int) -> str:
        """Why the slot's last worker ended, in its own words; empty if it could not say."""
        return self._records[index].last_reason

    def startup_failed(self) -> int | None:
        """Find the slot whose exit code stops the service: no slot was ever ready, and each has failed for a reason
        that more tries will hardly cure.
        """
        exits = [record.last_exit for record in self._records]
        if self._ever_ready or not all(code in STARTUP_FAILURES for code in exits):
            return None
        return self._records[0].slot.index

    def _wait_s(self, n: int) -> float:
        """From the first to the most, doubling; none for 0."""
        return min(self._first_s * 2.0 ** min(n - 1, 32), self._most_s) if n > 0 else 0.0
