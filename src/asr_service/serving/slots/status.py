"""The state of each slot, and the reason why its worker ended, in memory that workers share with the master."""

import mmap

from asr_service.lifecycle import SlotState

_RECORD_BYTES = 2048
_STATE, _EVER_READY, _REASON = 0, 1, 2  # offsets in a record
_STATES = tuple(SlotState)
"""A state is stored as its position here. The first is that of a record of zeros."""


class SharedSlotStatus:
    """Memory shared by the master and its forked workers, with one record for each slot.

    A worker writes its own record while it runs, and the master only while there is no worker, so no lock is needed. A
    worker that is killed during a write leaves at worst an incomplete reason.
    """

    def __init__(self, n_slots: int) -> None:
        self._n_slots = n_slots
        self._memory = mmap.mmap(-1, n_slots * _RECORD_BYTES)

    def begin(self, slot: int) -> None:
        """Clear the record for a new worker."""
        start = slot * _RECORD_BYTES
        self._memory[start : start + _RECORD_BYTES] = bytes(_RECORD_BYTES)
        self.set_state(slot, SlotState.LOADING)

    def set_state(self, slot: int, state: SlotState) -> None:
        self._memory[slot * _RECORD_BYTES + _STATE] = _STATES.index(state)
        if state is SlotState.READY:
            self._memory[slot * _RECORD_BYTES + _EVER_READY] = 1

    def state(self, slot: int) -> SlotState:
        return _STATES[self._memory[slot * _RECORD_BYTES + _STATE]]

    def was_ready(self, slot: int) -> bool:
        """Return whether the slot's worker, or its last one, has been ready."""
        return bool(self._memory[slot * _RECORD_BYTES + _EVER_READY])

    def n_ready(self) -> int:
        return sum(self.state(slot) is SlotState.READY for slot in range(self._n_slots))

    def set_reason(self, slot: int, reason: str) -> None:
        """Record why the worker is ending; a long reason is cut."""
        start = slot * _RECORD_BYTES + _REASON
        text = reason.encode()[: _RECORD_BYTES - _REASON]
        self._memory[start : start + len(text)] = text

    def reason(self, slot: int) -> str:
        """Return the reason that the slot's last worker recorded, or an empty string."""
        record = self._memory[slot * _RECORD_BYTES + _REASON : (slot + 1) * _RECORD_BYTES]
        return record.rstrip(b"\0").decode(errors="ignore")
