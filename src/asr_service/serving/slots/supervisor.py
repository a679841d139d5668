"""Which worker has which slot, and when a free slot is retried. A pure state machine: the caller passes the time."""

import signal
from dataclasses import dataclass

from asr_service.errors import ConfigurationError, ModelUnavailable, StartupError
from asr_service.hardware.devices import Slot

STARTUP_FAILURES: dict[int, type[StartupError]] = {
    failure.exit_code: failure for failure in (ConfigurationError, ModelUnavailable)
}
"""Errors at start that a retry does not fix, by exit code."""

_FROM_OUTSIDE = (0, -signal.SIGKILL)
"""Exit codes that do not mean a fault of the worker: it was asked to end, or was killed from outside."""


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
    """Keeps track of the workers of all slots, with an exponential backoff after failures.

    If a worker ends before it was ready, its slot waits, twice as long each time. A worker that was ready is replaced
    at once. But if workers fail again and again within `min_uptime_s` of their start, the slot waits too: a GPU that
    loads the model and fails at work would attract most requests, because it always has the fewest open ones.
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
        """Return the first free slot whose wait is over, or None."""
        free = (record for record in self._records if not record.taken and record.free_from_s <= now_s)
        return next((record.slot for record in free), None)

    def take(self, index: int, now_s: float) -> bool:
        """Record that a worker is about to start. Returns True if it replaces one that ended."""
        record = self._records[index]
        record.taken, record.taken_at_s, record.pid = True, now_s, None
        record.n_starts += 1
        return record.n_starts > 1

    def started(self, index: int, pid: int) -> None:
        """Record the worker's process id."""
        self._records[index].pid = pid

    def release(self, index: int, now_s: float, *, exit_code: int, was_ready: bool, reason: str = "") -> float:
        """Record the end of the slot's worker. Returns the seconds until the slot is retried."""
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
            wait_s = self._wait_s(record.n_short_lived - 1)  # the first failure may be a coincidence
        record.free_from_s = now_s + wait_s
        return wait_s

    def retry_now(self, *indices: int) -> None:
        """Cancel the waits of these slots: the operator asked for a reload."""
        for index in indices:
            self._records[index].free_from_s = 0

    def pid(self, index: int) -> int | None:
        """Return the process id of the slot's worker, or None."""
        return self._records[index].pid

    def exit_code(self, index: int) -> int:
        """Return the exit code of the slot's last worker; 0 if none has ended."""
        return self._records[index].last_exit or 0

    def reason(self, index: int) -> str:
        """Return the reason that the slot's last worker gave, or an empty string."""
        return self._records[index].last_reason

    def startup_failed(self) -> int | None:
        """Return the slot whose failure stops the service, or None.

        The service stops if no slot was ever ready and each has failed for a reason that a retry does not fix.
        """
        exits = [record.last_exit for record in self._records]
        if self._ever_ready or not all(code in STARTUP_FAILURES for code in exits):
            return None
        return self._records[0].slot.index

    def _wait_s(self, n: int) -> float:
        """Return the wait after `n` failures in a row: from `first_s`, doubling, up to `most_s`; 0 for none."""
        return min(self._first_s * 2.0 ** min(n - 1, 32), self._most_s) if n > 0 else 0.0
