"""The queue, and the threads that own the model.

Everybody else sends jobs and gets futures. A future always resolves: with a result, the job's own error, or
EngineStopped where the engine ended. Windows of all requests share the calls of the model; a job whose request has
gone is dropped before it costs anything.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import structlog

from asr_service import metrics
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import (
    Batch,
    BatchLimit,
    Job,
    fairness_penalty_s,
    form_batch,
    form_priority_batch,
)
from asr_service.engine.schedule.execution import BatchRunner, Run, fail
from asr_service.engine.schedule.throughput import ThroughputEstimator
from asr_service.errors import DeadlineExceeded, EngineStopped

log = structlog.get_logger(__name__)

_WORK_SHARE = {Stage.ENCODE: 0.5, Stage.GENERATE: 0.5, Stage.ALIGN: 0.0}
"""Of a window's work, for the speed. Counted at its end alone, files that begin together would seem to stand still
while their first windows are encoded, and newcomers would be refused for a wait that is none.
"""


class Scheduler:
    """Forms batches and runs them on its threads, until it is stopped or the device is lost."""

    def __init__(
        self,
        run: Run,
        limits: Mapping[Stage, BatchLimit],
        *,
        n_threads: int,
        on_failure: Callable[[str], None],
        coalesce_wait_s: float = 0.0,
        priority_thread: bool = False,
    ) -> None:
        """`on_failure` is called once, from an engine thread, when no more work can be done.

        `n_threads` make calls of the model side by side.
        `priority_thread` adds a thread that takes only first windows, while all others are in calls for later windows
        (`batch.form_priority_batch`).
        `coalesce_wait_s` is how long a thread that has encoded a window waits for the decode job of the same request,
        before it takes a job of another request.
        """
        self._runner = BatchRunner(run, self._shrink)
        self._limits = dict(limits)
        self._on_failure = on_failure
        self._coalesce_wait_s = coalesce_wait_s
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: dict[Batch, float] = {}
        """When each call of the model began."""
        self._served_audio_s: dict[int, float] = {}
        self._stopped: str | None = None
        self._failed = False
        self.throughput = ThroughputEstimator()
        self.worked_at = -math.inf
        """When the last call of the model ended; before the first, long ago."""
        self._n_threads = n_threads
        self._threads = [
            threading.Thread(target=self._serve, args=(form,), name=f"model-{number}", daemon=True)
            for number, form in enumerate([self._form] * n_threads + [self._form_priority] * priority_thread)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, reason: str = "the service is stopping") -> None:
        """Take no more jobs, end those that wait with EngineStopped, and let running calls finish."""
        with self._changed:
            self._stopped = self._stopped or reason
            abandoned, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in abandoned:
            fail(job, EngineStopped(self._stopped))

    def join(self, timeout_s: float) -> None:
        """Wait for the running calls."""
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(until - time.monotonic(), 0))

    def submit(self, job: Job) -> "Future[Any]":
        """Queue a job. Raises EngineStopped."""
        with self._changed:
            if self._stopped:
                raise EngineStopped(self._stopped)
            self._waiting.append(job)
            self._changed.notify_all()
        return job.future

    def cancel_request(self, request_id: int) -> None:
        """A request has ended: drop what is left of it."""
        with self._changed:
            self._served_audio_s.pop(request_id, None)
            abandoned = [job for job in self._waiting if job.request_id == request_id]
            self._waiting = [job for job in self._waiting if job.request_id != request_id]
        for job in abandoned:
            job.future.cancel()

    def reset_throughput(self) -> None:
        """What was done so far is no measure of what is to come."""
        with self._changed:
            self.throughput.reset(time.monotonic())

    @property
    def depth(self) -> int:
        return len(self._waiting)

    @property
    def queued_audio_s(self) -> float:
        """Seconds of audio that wait for their last stage or an earlier one."""
        with self._changed:
            return sum(job.audio_s for job in self._waiting if job.stage is not Stage.ALIGN)

    def oldest_wait_s(self, now: float) -> float:
        """How long the job that came first of those that wait has waited; 0 where none does."""
        with self._changed:
            return max((now - job.enqueued_at for job in self._waiting), default=0.0)

    def longest_call_s(self, now: float) -> float:
        """How long the oldest of the running calls has run; 0 where none does."""
        with self._changed:
            return max((now - began for began in self._running.values()), default=0.0)

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._running)

    def limit(self, stage: Stage) -> int:
        """The most windows in one call of a stage; it shrinks where memory runs out."""
        return self._limits[stage].n_windows

    # -- the engine threads

    def _serve(self, form: Callable[[], Batch | None]) -> None:
        awaited: set[int] = set()
        try:
            while batch := self._next_batch(form, awaited):
                self._runner.execute(batch)
                self._finish(batch)
                awaited = {job.request_id for job in batch.jobs} if batch.stage is Stage.ENCODE else set()
                del batch  # an idle thread keeps no window in memory
        except BaseException as error:  # noqa: BLE001 - whatever ends a model thread, nobody may wait for it
            self._die(error)

    def _next_batch(self, form: Callable[[], Batch | None], awaited: set[int]) -> Batch | None:
        """The next call's jobs, those of the requests `awaited` among them if they are there soon; None at the end."""
        with self._changed:
            if awaited and self._coalesce_wait_s:
                self._changed.wait_for(lambda: self._stopped or self._any_of(awaited), self._coalesce_wait_s)
            while not self._stopped:
                now = time.monotonic()
                self._drop_lost(now)
                if batch := form():
                    self._take(batch, now)
                    return batch
                self._changed.wait()
            return None

    def _form(self) -> Batch | None:
        return form_batch(self._waiting, self._limits, self._penalties_s())

    def _form_priority(self) -> Batch | None:
        return form_priority_batch(self._waiting, self._running, self._limits, self._penalties_s(), self._n_threads)

    def _penalties_s(self) -> dict[int, float]:
        return {request_id: fairness_penalty_s(served_s) for request_id, served_s in self._served_audio_s.items()}

    def _any_of(self, request_ids: set[int]) -> bool:
        return any(job.request_id in request_ids for job in self._waiting)

    def _drop_lost(self, now: float) -> None:
        kept = []
        for job in self._waiting:
            if job.deadline <= now:
                fail(job, DeadlineExceeded("the deadline passed while the recording waited for the model"))
            elif not job.future.cancelled():
                kept.append(job)
        self._waiting = kept

    def _take(self, batch: Batch, now: float) -> None:
        taken = set(map(id, batch.jobs))
        self._waiting = [job for job in self._waiting if id(job) not in taken]
        for job in batch.jobs:
            job.started_at, job.n_together = now, len(batch.jobs)
            if batch.stage is Stage.GENERATE:
                self._served_audio_s[job.request_id] = self._served_audio_s.get(job.request_id, 0.0) + job.audio_s
            metrics.STAGE_DURATION.labels("queue").observe(now - job.enqueued_at)
        metrics.BATCH_SIZE.labels(batch.stage).observe(len(batch.jobs))
        self._running[batch] = now
        self.throughput.begin(now)
        self._changed.notify_all()  # the priority thread may be wanted now

    def _finish(self, batch: Batch) -> None:
        now = time.monotonic()
        with self._changed:
            self.worked_at = now
            began = self._running.pop(batch, now)  # not there any more where another thread has died meanwhile
            self.throughput.end(now, _WORK_SHARE[batch.stage] * sum(job.audio_s for job in batch.jobs))
        for _ in batch.jobs:  # each window's, so that a request's stages add up to it
            metrics.STAGE_DURATION.labels(batch.stage).observe(now - began)

    def _shrink(self, batch: Batch) -> None:
        with self._changed:
            limit = self._limits[batch.stage]
            fewer = min(limit.n_windows, len(batch.jobs) // 2)
            self._limits[batch.stage] = replace(limit, n_windows=fewer)
        log.warning("out of memory: smaller batches from here on", stage=batch.stage, limit=fewer)

    def _die(self, error: BaseException) -> None:
        reason = f"the engine stopped: {error!r}"
        log.critical("a model thread ended", error=repr(error), exc_info=error)
        with self._changed:
            first, self._failed = not self._failed, True
            lost = [job for batch in self._running for job in batch.jobs]
            self._running.clear()
        for job in lost:
            fail(job, EngineStopped(reason))
        self.stop(reason)
        if first:
            self._on_failure(reason)
