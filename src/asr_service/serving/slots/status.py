"""What a worker tells the master: how its slot is and, when it ends, why."""

import mmap

from asr_service.lifecycle import SlotState

_RECORD_BYTES = 2048
_STATE, _EVER_READY, _REASON = 0, 1, 2  # offsets in a record


_STATES = tuple(SlotState)
"""A state is stored as its position here. The first is that of a record of zeros."""


class SharedSlotStatus:
    """Memory shared by the master and the workers forked from it, one record a slot.

    A worker writes its own record while it lives, the master only while none does: no lock is needed, and a worker
    killed in the middle of a write leaves at worst a torn reason.
    """

    def __init__(self, n_slots: int) -> None:
        self._n_slots = n_slots
        self._memory = mmap.mmap(-1, n_slots * _RECORD_BYTES)

    def begin(self, slot: int) -> None:
        """A new worker has the slot."""
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
        """Whether the slot's present worker, or its last one, has been ready."""
        return bool(self._memory[slot * _RECORD_BYTES + _EVER_READY])

    def n_ready(self) -> int:
        return sum(self.state(slot) is SlotState.READY for slot in range(self._n_slots))

    def set_reason(self, slot: int, reason: str) -> None:
        """Say why the worker ends; a long reason is cut."""
        start = slot * _RECORD_BYTES + _REASON
        text = reason.encode()[: _RECORD_BYTES - _REASON]
        self._memory[start : start + len(text)] = text

    def reason(self, slot: int) -> str:
        """Why the slot's last worker ended, in its own words; empty if it could not say."""
        record = self._memory[slot * _RECORD_BYTES + _REASON : (slot + 1) * _RECORD_BYTES]
        return record.rstrip(b"\0").decode(errors="ignore")
