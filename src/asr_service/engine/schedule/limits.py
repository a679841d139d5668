"""Batch limits that shrink when the device's memory runs out, and grow back slowly. Pure: no threads, no clock."""

from dataclasses import dataclass, field, replace

from asr_service.engine.schedule.batch import BatchLimit

FULL_BATCHES_TO_GROW = 32
"""Number of full batches that must succeed before the limit of a stage grows by one window."""
_MAX_PATIENCE = 32 * FULL_BATCHES_TO_GROW


@dataclass(slots=True)
class AdaptiveLimit:
    """The batch limit of one stage.

    When a batch of n windows does not fit into memory, the limit becomes n // 2. After `FULL_BATCHES_TO_GROW` full
    batches it grows by one window, up to the configured limit. When a batch of the size that it has just grown to does
    not fit, the limit returns to the size before, and the next growth needs twice as many full batches.
    """

    configured: BatchLimit
    current: BatchLimit = field(init=False)
    _proven: int = 0
    """Windows in the full batches after which the limit last grew; 0 if it has not grown since it was halved."""
    _patience: int = FULL_BATCHES_TO_GROW
    _n_full: int = 0

    def __post_init__(self) -> None:
        self.current = self.configured

    def shrink(self, n_windows: int) -> int:
        """Note that a batch of `n_windows` did not fit into memory. Returns the new limit."""
        if n_windows > self.current.n_windows:  # formed before the limit last shrank
            return self.current.n_windows
        if self._proven and n_windows > self._proven:
            fewer, self._patience = self._proven, min(2 * self._patience, _MAX_PATIENCE)
        else:
            fewer = max(n_windows // 2, 1)
        self._proven = self._n_full = 0
        self.current = replace(self.current, n_windows=fewer)
        return fewer

    def note_success(self, n_windows: int) -> bool:
        """Note that a batch of `n_windows` fitted into one call. Returns True if the limit grew."""
        if n_windows < self.current.n_windows or self.current == self.configured:
            return False
        self._n_full += 1
        if self._n_full < self._patience:
            return False
        self._proven, self._n_full = self.current.n_windows, 0
        self.current = replace(self.current, n_windows=self.current.n_windows + 1)
        return True
