"""Run a batch on the model and resolve each of its entries, also after any failure.

If a batch fails, its windows are retried one by one. If memory runs out, the batch is halved. After any other CUDA
error a trial call decides whether the device is lost, which ends the engine.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import Any

import structlog

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import Batch, QueueEntry
from asr_service.errors import AsrError, InferenceFailed, Overloaded

log = structlog.get_logger(__name__)

Run = Callable[[Batch], Sequence[Any]]
"""Calls the model for a batch; returns one result for each entry, in order."""

_ATTEMPTS_ALONE = 2
"""Attempts of a window by itself after its batch failed; three attempts in all."""
_DEVICE_LIBRARIES = ("cuda", "cublas", "cudnn")
"""CTranslate2 names one of them in each error that comes from a GPU, such as "CUDA failed with error ..."."""


class DeviceLostError(Exception):
    """The device cannot be used by this process any more."""


class BatchRunner:
    """Runs batches on the model. Several threads may call it at once, each with its own batch."""

    def __init__(self, run: Run, on_out_of_memory: Callable[[Batch], None], probe: Callable[[], None]) -> None:
        """Use `run` to call the model.

        `on_out_of_memory` is called with each batch of several entries that did not fit into memory.
        `probe` makes a trial call of the model, and raises if the device fails.
        """
        self._run = run
        self._on_out_of_memory = on_out_of_memory
        self._probe = probe

    def execute(self, batch: Batch) -> bool:
        """Resolve every entry of the batch. Returns True if one call of the model was enough.

        Raises DeviceLostError: some entries may be unresolved.
        """
        try:
            results = self._run(batch)
        except Exception as error:  # noqa: BLE001 - a window that fails must not fail the others of its batch
            self._recover(batch, error)
            return False
        for entry, result in zip(batch.entries, results, strict=True):
            resolve(entry, result)
        return True

    def _recover(self, batch: Batch, error: Exception) -> None:
        if _is_out_of_memory(error) and len(batch.entries) > 1:
            self._on_out_of_memory(batch)
            half = len(batch.entries) // 2
            self.execute(Batch(batch.stage, batch.entries[:half]))
            self.execute(Batch(batch.stage, batch.entries[half:]))
            return
        self._check_device(error)
        log.warning(
            "batch failed; retrying its windows one by one", stage=batch.stage, n=len(batch.entries), error=repr(error)
        )
        for entry in batch.entries:
            self._execute_alone(entry, batch.stage)

    def _execute_alone(self, entry: QueueEntry, stage: Stage) -> None:
        error: Exception | None = None
        for _ in range(_ATTEMPTS_ALONE):
            if entry.future.cancelled():
                return
            try:
                (result,) = self._run(Batch(stage, (entry,)))
            except Exception as failure:  # noqa: BLE001 - as in execute
                self._check_device(failure)
                error = failure
            else:
                resolve(entry, result)
                return
        log.error("window failed on its own", stage=stage, error=repr(error))
        fail(entry, _as_failure(error))

    def _check_device(self, error: Exception) -> None:
        """Return if the device still works. Raises DeviceLostError if `error` came from the device and the probe fails.

        CUDA reports some errors, such as an illegal memory access, for each later call of the process, too. Others
        concern one call only.
        """
        if not _is_device_error(error):
            return
        try:
            self._probe()
        except Exception as failure:  # noqa: BLE001 - any failure of the probe shows a lost device
            if not _is_out_of_memory(failure):
                raise DeviceLostError(f"{error}; a trial call failed too: {failure}") from error
        log.warning("CUDA error; the device still works", error=repr(error))


def resolve(entry: QueueEntry, result: Any) -> None:
    """Set the entry's result, unless its request is gone or another thread has resolved the entry."""
    entry.ended_at = time.monotonic()
    with suppress(InvalidStateError):
        entry.future.set_result(result)


def fail(entry: QueueEntry, error: AsrError) -> None:
    """Set the entry's error, unless its request is gone or another thread has resolved the entry."""
    entry.ended_at = time.monotonic()
    with suppress(InvalidStateError):
        entry.future.set_exception(error)


def _as_failure(error: Exception | None) -> AsrError:
    if isinstance(error, AsrError):
        return error
    if error is not None and _is_out_of_memory(error):
        return Overloaded("Not enough memory for this window; try again later.", retry_after_s=30)
    failed = InferenceFailed("The model failed on this recording three times; the service's log has the reason.")
    failed.__cause__ = error  # for the log line that has the request's id
    return failed


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "alloc_failed" in text


def _is_device_error(error: Exception) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, RuntimeError)
        and not _is_out_of_memory(error)
        and any(library in text for library in _DEVICE_LIBRARIES)
    )
