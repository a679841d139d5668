"""The queue of model calls, and the threads that run them.

Other threads submit entries and get futures. Each future is resolved: with a result, with the entry's own error, or
with EngineStopped if the engine ended. Windows of all requests share the calls of the model. The entries of a cancelled
request are dropped before they cost anything.
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

import structlog

from asr_service import metrics
from asr_service.access.caller import Caller
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import (
    Batch,
    BatchLimit,
    QueueEntry,
    fairness_penalty_s,
    form_batch,
    form_priority_batch,
    is_last_without_bulk,
    with_one_bulk_entry,
)
from asr_service.engine.schedule.caller_usage import CallerUsage
from asr_service.engine.schedule.execution import BatchRunner, DeviceLostError, Run, fail
from asr_service.engine.schedule.limits import AdaptiveLimit
from asr_service.engine.schedule.throughput import ThroughputEstimator
from asr_service.errors import AsrError, DeadlineExceeded, EngineStopped, InferenceFailed

log = structlog.get_logger(__name__)

WORK_SHARE: Final[Mapping[Stage, float]] = {Stage.ENCODE: 0.5, Stage.GENERATE: 0.5, Stage.ALIGN: 0.0}
"""The share of a window's audio that counts as done after each stage, for the throughput and the usage of callers.

If a window counted only after its last stage, the throughput would seem to be zero while the first windows of new
recordings are encoded, and new requests would be refused for an expected wait that is far too long.
"""
CLIENT_GAP_S: Final = 2.0
"""For so long after work of a request, bulk windows leave a thread free: its next stage or the next clip may follow."""
LIVE_GAP_S: Final = 10.0
"""The same after work of a live session, in which the next turn follows."""


class Scheduler:
    """Forms batches and runs them on its threads, until it is stopped or the device is lost."""

    def __init__(
        self,
        run: Run,
        limits: Mapping[Stage, BatchLimit],
        *,
        n_threads: int,
        on_failure: Callable[[str], None],
        probe: Callable[[], None],
        coalesce_wait_s: float = 0.0,
        priority_thread: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the threads; `start` starts them.

        `n_threads` is the number of model calls that run side by side.
        `on_failure` is called once with the reason, on a model thread, when no more work can be done.
        `probe` makes a trial call of the model after a CUDA error, and raises if the device fails.
        `coalesce_wait_s` is how long a thread that has encoded a window waits for the request to have it decoded,
        before it takes an entry of another request.
        `priority_thread` adds a thread that takes only live work and first windows, while all others are in calls
        (`batch.form_priority_batch`).
        """
        self._runner = BatchRunner(run, self._shrink, probe)
        self._limits = {stage: AdaptiveLimit(limit) for stage, limit in limits.items()}
        self._on_failure = on_failure
        self._coalesce_wait_s = coalesce_wait_s
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[QueueEntry] = []
        self._running: dict[Batch, float] = {}
        """The running calls of the model, and when each began."""
        self._served_audio_s: dict[int, float] = {}
        """Seconds of audio decoded for each open request."""
        for stage in limits:
            metrics.BATCH_SIZE.labels(stage)  # with the value 0: without a sample, a rate has no value
        self._stopped: str | None = None
        self._failed = False
        self.throughput = ThroughputEstimator()
        self._caller_usage = CallerUsage(self.throughput.estimate_s)
        self.worked_at = -math.inf
        """When the last call of the model ended; minus infinity before the first."""
        self._expected: set[int] = set()
        """Requests with a client that waits, before their first entry."""
        self._expected_until = -math.inf
        """Until when another entry that is not bulk may soon follow the last one."""
        self._n_threads = n_threads
        self._threads = [
            threading.Thread(target=self._serve, args=(form,), name=f"model-{number}", daemon=True)
            for number, form in enumerate([self._form] * n_threads + [self._form_priority] * priority_thread)
        ]

    def start(self) -> None:
        """Start the model threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, reason: str = "The service is stopping.") -> None:
        """Take no more entries, fail the waiting entries with EngineStopped, and let running calls finish."""
        with self._changed:
            self._stopped = self._stopped or reason
            abandoned, self._waiting = self._waiting, []
            self._changed.notify_all()
        for entry in abandoned:
            fail(entry, EngineStopped(self._stopped))

    def join(self, timeout_s: float) -> None:
        """Wait until the running calls have ended, at most `timeout_s`."""
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(until - time.monotonic(), 0))

    def submit(self, entry: QueueEntry) -> "Future[Any]":
        """Queue an entry, and return its future.

        Raises EngineStopped: the scheduler takes no more entries.
        """
        with self._changed:
            if self._stopped:
                raise EngineStopped(self._stopped)
            self._waiting.append(entry)
            self._expected.discard(entry.request_id)
            self._expect_more_after([entry])
            self._changed.notify_all()
        return entry.future

    def expect_client(self, request_id: int) -> None:
        """Keep bulk windows out of one thread until the first entry of a request whose client waits, or its end."""
        with self._changed:
            self._expected.add(request_id)

    @property
    def has_clients(self) -> bool:
        """True if a client waits for work, or did so a moment ago."""
        with self._changed:
            return self._has_clients(self._clock()) or any(not entry.is_bulk for entry in self._waiting)

    def cancel_request(self, request_id: int) -> None:
        """Cancel the waiting entries of a request that has ended, and forget what it was served."""
        with self._changed:
            if request_id in self._expected:
                self._expected.remove(request_id)
                self._changed.notify_all()
            self._served_audio_s.pop(request_id, None)
            abandoned = [entry for entry in self._waiting if entry.request_id == request_id]
            self._waiting = [entry for entry in self._waiting if entry.request_id != request_id]
        for entry in abandoned:
            entry.future.cancel()

    def reset_throughput(self) -> None:
        """Discard the throughput measured so far."""
        with self._changed:
            self.throughput.reset(self._clock())

    @property
    def depth(self) -> int:
        """Number of waiting entries."""
        return len(self._waiting)

    @property
    def queued_audio_s(self) -> float:
        """Seconds of audio that wait to be encoded or decoded, without bulk entries, which delay no others."""
        with self._changed:
            return sum(entry.audio_s for entry in self._waiting if entry.stage is not Stage.ALIGN and not entry.is_bulk)

    def oldest_wait_s(self, now: float) -> float:
        """Return for how long the oldest waiting entry has waited, without bulk entries, which may; 0 if none waits."""
        with self._changed:
            return max((now - entry.enqueued_at for entry in self._waiting if not entry.is_bulk), default=0.0)

    def longest_call_s(self, now: float) -> float:
        """Return for how long the oldest running call has run; 0 if none runs."""
        with self._changed:
            return max((now - began for began in self._running.values()), default=0.0)

    @property
    def busy(self) -> bool:
        """True if an entry waits or runs."""
        return bool(self._waiting or self._running)

    def limit(self, stage: Stage) -> int:
        """Return the maximum number of windows in one call of a stage. It is smaller after memory has run out."""
        return self._limits[stage].current.n_windows

    # -- the model threads

    def _serve(self, form: Callable[[float], Batch | None]) -> None:
        awaited: set[int] = set()
        try:
            while batch := self._next_batch(form, awaited):
                in_one_call = self._runner.execute(batch)
                self._finish(batch, in_one_call=in_one_call)
                awaited = {entry.request_id for entry in batch.entries} if batch.stage is Stage.ENCODE else set()
                del batch  # an idle thread keeps no window in memory
        except BaseException as error:  # noqa: BLE001 - no future may stay open, whatever ends a model thread
            self._die(error)

    def _next_batch(self, form: Callable[[float], Batch | None], awaited: set[int]) -> Batch | None:
        """Wait for the next batch, first for a short time for entries of the requests `awaited`. None once stopped."""
        with self._changed:
            if awaited and self._coalesce_wait_s:
                self._changed.wait_for(lambda: self._stopped or self._any_of(awaited), self._coalesce_wait_s)
            while not self._stopped:
                now = self._clock()
                self._drop_expired(now)
                if batch := form(now):
                    self._take(batch, now)
                    return batch
                # Bulk entries that wait because a client may follow start when none has.
                self._changed.wait(self._expected_until - now if self._waiting and self._expected_until > now else None)
            return None

    def _form(self, now: float) -> Batch | None:
        waiting: Collection[QueueEntry] = self._waiting
        is_last = is_last_without_bulk(self._running, self._n_threads)
        if is_last and self._has_clients(now):
            waiting = [entry for entry in waiting if not entry.is_bulk]
        batch = form_batch(waiting, self._current_limits(), self._penalties_s(), self._caller_levels(now))
        return with_one_bulk_entry(batch) if batch and is_last else batch

    def _has_clients(self, now: float) -> bool:
        return bool(self._expected) or now < self._expected_until or any(map(_has_interactive, self._running))

    def _expect_more_after(self, entries: Iterable[QueueEntry]) -> None:
        for entry in entries:
            if not entry.is_bulk:
                gap_s = CLIENT_GAP_S if entry.live is None else LIVE_GAP_S
                self._expected_until = max(self._expected_until, self._clock() + gap_s)

    def _form_priority(self, now: float) -> Batch | None:
        return form_priority_batch(
            self._waiting,
            self._running,
            self._current_limits(),
            self._penalties_s(),
            self._n_threads,
            self._caller_levels(now),
        )

    def _caller_levels(self, now: float) -> dict[Caller, int]:
        return self._caller_usage.levels({entry.caller for entry in self._waiting}, now)

    def _current_limits(self) -> dict[Stage, BatchLimit]:
        return {stage: limit.current for stage, limit in self._limits.items()}

    def _penalties_s(self) -> dict[int, float]:
        return {request_id: fairness_penalty_s(served_s) for request_id, served_s in self._served_audio_s.items()}

    def _any_of(self, request_ids: set[int]) -> bool:
        return any(entry.request_id in request_ids for entry in self._waiting)

    def _drop_expired(self, now: float) -> None:
        """Drop the entries that are past their deadline or cancelled."""
        kept = []
        for entry in self._waiting:
            if entry.deadline <= now:
                fail(entry, DeadlineExceeded("The deadline passed while the recording waited for the model."))
            elif not entry.future.cancelled():
                kept.append(entry)
        self._waiting = kept

    def _take(self, batch: Batch, now: float) -> None:
        taken = set(map(id, batch.entries))
        self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
        for entry in batch.entries:
            entry.started_at, entry.n_together = now, len(batch.entries)
            if batch.stage is Stage.GENERATE:
                self._served_audio_s[entry.request_id] = self._served_audio_s.get(entry.request_id, 0.0) + entry.audio_s
            if not entry.is_bulk:
                self._caller_usage.add(entry.caller, WORK_SHARE[batch.stage] * entry.audio_s, now)
            metrics.STAGE_DURATION.labels("queue").observe(now - entry.enqueued_at)
        metrics.BATCH_SIZE.labels(batch.stage).observe(len(batch.entries))
        self._running[batch] = now
        self.throughput.begin(now)
        self._changed.notify_all()  # the priority thread may have work now

    def _finish(self, batch: Batch, *, in_one_call: bool) -> None:
        now = self._clock()
        with self._changed:
            self.worked_at = now
            self._expect_more_after(batch.entries)
            began = self._running.pop(batch, now)  # missing if another thread has failed meanwhile
            self.throughput.end(now, WORK_SHARE[batch.stage] * sum(entry.audio_s for entry in batch.entries))
            limit = self._limits[batch.stage]
            grew = in_one_call and limit.note_success(len(batch.entries))
        if grew:
            log.info("larger batches are tried again", stage=batch.stage, limit=limit.current.n_windows)
        for _ in batch.entries:  # once for each window, so that a request's stages add up to its time
            metrics.STAGE_DURATION.labels(batch.stage).observe(now - began)

    def _shrink(self, batch: Batch) -> None:
        with self._changed:
            fewer = self._limits[batch.stage].shrink(len(batch.entries))
        log.warning("out of memory: smaller batches from here on", stage=batch.stage, limit=fewer)

    def _die(self, error: BaseException) -> None:
        reason = f"The engine stopped: {error!r}"
        log.critical("a model thread ended", error=repr(error), exc_info=error)
        with self._changed:
            first, self._failed = not self._failed, True
            lost = [entry for batch in self._running for entry in batch.entries]
            self._running.clear()
        for entry in lost:
            fail(entry, _failure_of_running(error, reason))
        self.stop(reason)
        if first:
            self._on_failure(reason)


def _has_interactive(batch: Batch) -> bool:
    return not all(entry.is_bulk for entry in batch.entries)


def _failure_of_running(error: BaseException, reason: str) -> AsrError:
    """Return the error for the entries that ran when the engine ended.

    Clients repeat a request after EngineStopped, and not after InferenceFailed. A recording whose decoding may have
    broken one GPU must not be sent to the next.
    """
    if isinstance(error, DeviceLostError):
        failed = InferenceFailed("The GPU failed while this recording was decoded; the service's log has the reason.")
        failed.__cause__ = error  # for the log line that has the request's id
        return failed
    return EngineStopped(reason)
