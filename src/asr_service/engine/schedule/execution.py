"""A batch through the model until each of its jobs has an answer, whatever fails on the way.

A batch that raises is tried again window by window; where memory runs out it is halved; a device that is lost is no
window's fault and ends the engine.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import Any

import structlog

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import Batch, Job
from asr_service.errors import AsrError, InferenceFailed, Overloaded

log = structlog.get_logger(__name__)

Run = Callable[[Batch], Sequence[Any]]
"""Calls the model for a batch; one result a job, in order."""

_ATTEMPTS_ALONE = 2
"""Tries of a job by itself after its batch failed: three in all."""


class DeviceLostError(Exception):
    """The device is gone for this process."""


class BatchRunner:
    """Called by several threads at once, each with a batch of its own."""

    def __init__(self, run: Run, on_memory_short: Callable[[Batch], None]) -> None:
        """`on_memory_short` is told of each batch of several jobs that the device's memory did not hold."""
        self._run = run
        self._on_memory_short = on_memory_short

    def execute(self, batch: Batch) -> None:
        """Answer every job of the batch. Raises DeviceLostError, and some jobs may have no answer then."""
        try:
            results = self._run(batch)
        except Exception as error:  # noqa: BLE001 - one bad window must not fail its neighbours, whatever it raises
            self._recover(batch, error)
            return
        for job, result in zip(batch.jobs, results, strict=True):
            resolve(job, result)

    def _recover(self, batch: Batch, error: Exception) -> None:
        if _is_out_of_memory(error) and len(batch.jobs) > 1:
            self._on_memory_short(batch)
            half = len(batch.jobs) // 2
            self.execute(Batch(batch.stage, batch.jobs[:half]))
            self.execute(Batch(batch.stage, batch.jobs[half:]))
            return
        _end_if_device_lost(error)
        log.warning(
            "a batch failed; its windows are tried one by one", stage=batch.stage, n=len(batch.jobs), error=repr(error)
        )
        for job in batch.jobs:
            self._execute_alone(job, batch.stage)

    def _execute_alone(self, job: Job, stage: Stage) -> None:
        error: Exception | None = None
        for _ in range(_ATTEMPTS_ALONE):
            if job.future.cancelled():
                return
            try:
                (result,) = self._run(Batch(stage, (job,)))
            except Exception as failure:  # noqa: BLE001 - the same
                _end_if_device_lost(failure)
                error = failure
            else:
                resolve(job, result)
                return
        log.error("a window failed by itself", stage=stage, error=repr(error))
        fail(job, _as_failure(error))


def resolve(job: Job, result: Any) -> None:
    """Give a job its result, unless its request has gone or another thread has answered it."""
    job.ended_at = time.monotonic()
    with suppress(InvalidStateError):
        job.future.set_result(result)


def fail(job: Job, error: AsrError) -> None:
    """Give a job its error, unless its request has gone or another thread has answered it."""
    job.ended_at = time.monotonic()
    with suppress(InvalidStateError):
        job.future.set_exception(error)


def _as_failure(error: Exception | None) -> AsrError:
    if isinstance(error, AsrError):
        return error
    if error is not None and _is_out_of_memory(error):
        return Overloaded("there is no memory left for this window; try again later", retry_after_s=30)
    failed = InferenceFailed("the model failed on this recording three times; the service's log has the reason")
    failed.__cause__ = error  # for the line that has the request's id
    return failed


def _end_if_device_lost(error: Exception) -> None:
    if _is_device_lost(error):
        raise DeviceLostError(str(error)) from error


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "alloc_failed" in text


def _is_device_lost(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and not _is_out_of_memory(error) and ("cuda" in text or "cublas" in text)
