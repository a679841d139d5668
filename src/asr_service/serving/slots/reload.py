"""The rolling reload after SIGHUP: one slot after the other, each when the previous one is ready again."""

import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from asr_service.lifecycle import SlotState
from asr_service.serving.slots.status import SharedSlotStatus
from asr_service.serving.slots.supervisor import SlotSupervisor

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Turn:
    slot: int
    old_pid: int | None
    """None if there was none, or if a newer worker has the slot."""
    kill_at_s: float
    """When the old worker is killed, if it has not ended."""
    ready_by_s: float = float("inf")
    """When the new worker must be ready; set when it starts."""


class RollingReload:
    """Ends the workers of the slots one at a time and lets the master replace them.

    Gunicorn's own reload runs the new workers together with the old ones, but the memory of a GPU is too small for two
    models. If a new worker is not ready in time, the reload stops, and the remaining slots keep their workers.
    """

    def __init__(
        self,
        supervisor: SlotSupervisor,
        slot_status: SharedSlotStatus,
        send: Callable[[int, int], None],
        *,
        graceful_s: float,
        load_s: float,
    ) -> None:
        self._supervisor = supervisor
        self._status = slot_status
        self._send = send
        self._graceful_s = graceful_s
        self._load_s = load_s
        self._waiting: deque[tuple[int, int | None]] = deque()
        """Slots that are still to be reloaded, and the worker that each had when the reload began."""
        self._turn: _Turn | None = None

    def begin(self) -> None:
        """Reload all slots in turn. Called during a reload, it starts over with the workers of that moment."""
        log.info("reload begins", slots=len(self._supervisor.slots))
        self._supervisor.retry_now(*(slot.index for slot in self._supervisor.slots))
        self._waiting = deque((slot.index, self._supervisor.pid(slot.index)) for slot in self._supervisor.slots)

    def step(self, now_s: float) -> None:
        """Take all steps of the reload that are possible now."""
        if self._turn is not None and self._is_over(self._turn, now_s):
            self._turn = None
            if not self._waiting:
                log.info("reload complete")
        if self._turn is None and self._waiting:
            self._take_turn(*self._waiting.popleft(), now_s)

    def _take_turn(self, slot: int, old_pid: int | None, now_s: float) -> None:
        """End the worker that the slot had; one that started since the reload began is already new."""
        there = old_pid is not None and self._supervisor.pid(slot) == old_pid
        self._turn = _Turn(slot, old_pid if there else None, now_s + self._graceful_s)
        if there and old_pid is not None:
            self._send(old_pid, signal.SIGTERM)

    def _is_over(self, turn: _Turn, now_s: float) -> bool:
        pid = self._supervisor.pid(turn.slot)
        if pid is not None and pid == turn.old_pid:
            self._press(turn, now_s)
            return False
        if pid is not None and self._status.state(turn.slot) is SlotState.READY:
            return True
        if turn.ready_by_s == float("inf"):  # the old worker, ready or not, has just ended
            self._supervisor.retry_now(turn.slot)
            turn.ready_by_s = now_s + self._load_s
        if now_s < turn.ready_by_s:
            return False
        log.error(
            "The slot did not become ready; the reload stops.",
            slot=turn.slot,
            not_reloaded=[slot for slot, _ in self._waiting],
        )
        self._waiting.clear()
        return True

    def _press(self, turn: _Turn, now_s: float) -> None:
        if now_s >= turn.kill_at_s and turn.old_pid is not None:
            log.error("The worker did not end in time and is killed.", slot=turn.slot, pid=turn.old_pid)
            self._send(turn.old_pid, signal.SIGKILL)
