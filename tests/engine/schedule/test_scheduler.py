"""The queue and its threads: every future resolves, and one window's trouble is its own."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import Batch, BatchLimit, Job
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.errors import DeadlineExceeded, EngineStopped, InferenceFailed, Overloaded
from waiting import until

LIMITS = dict.fromkeys(Stage, BatchLimit(4))


def job(payload: Any = None, *, request_id: int = 0, deadline_in_s: float = 60.0) -> Job:
    now = time.monotonic()
    return Job(
        Stage.GENERATE,
        "k",
        request_id,
        payload,
        audio_s=30.0,
        n_frames=3000,
        deadline=now + deadline_in_s,
        enqueued_at=now,
    )


@contextmanager
def running(
    run: Callable[[Batch], Sequence[Any]],
    *,
    n_threads: int = 1,
    on_failure: Callable[[str], None] = lambda _: None,
    coalesce_wait_s: float = 0.0,
    priority_thread: bool = False,
) -> Iterator[Scheduler]:
    scheduler = Scheduler(
        run,
        LIMITS,
        n_threads=n_threads,
        on_failure=on_failure,
        coalesce_wait_s=coalesce_wait_s,
        priority_thread=priority_thread,
    )
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        scheduler.join(5)


class Gate:
    """Holds the model until it is opened, and keeps what it was given."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.batches: list[list[Any]] = []

    def __call__(self, batch: Batch) -> list[Any]:
        self.batches.append([each.payload for each in batch.jobs])
        self.entered.set()
        assert self.open.wait(10)
        return [each.payload for each in batch.jobs]


class TestTheExpressThread:
    """One more than the cores, for first words while all others are in calls for later ones."""

    @staticmethod
    @contextmanager
    def busy(*, is_first_window: bool = False) -> Iterator[tuple[Scheduler, Gate]]:
        """The only ordinary thread is in a call."""
        gate = Gate()
        with running(gate, priority_thread=True) as scheduler:
            scheduler.submit(replace(job("running"), is_first_window=is_first_window))
            until(lambda: gate.batches == [["running"]])
            yield scheduler, gate
            gate.open.set()

    def test_it_takes_first_words_at_once(self):
        """They wait for no call's end."""
        with self.busy() as (scheduler, gate):
            scheduler.submit(job("later words", request_id=1))
            scheduler.submit(replace(job("first words", request_id=2), is_first_window=True))
            until(lambda: len(gate.batches) == 2)
            assert gate.batches[1] == ["first words"]

    def test_it_crowds_no_first_words(self):
        """While others' are being found it leaves them the cores."""
        with self.busy(is_first_window=True) as (scheduler, gate):
            scheduler.submit(replace(job("first words"), is_first_window=True))
            time.sleep(0.1)
            assert gate.batches == [["running"]]

    def test_first_words_that_wait_when_the_threads_fill_are_taken_too(self):
        """A recording that has stood back long enough goes before a clip, which then goes beside it."""
        first, second = Gate(), Gate()

        def run(batch: Batch) -> list[Any]:
            return (first if batch.jobs[0].payload == "running" else second)(batch)

        with running(run, priority_thread=True) as scheduler:
            scheduler.submit(replace(job("running"), is_first_window=True))
            until(lambda: first.batches == [["running"]])
            scheduler.submit(replace(job("starved", request_id=1), enqueued_at=time.monotonic() - 1))
            scheduler.submit(replace(job("first words", request_id=2), is_first_window=True, key="clip"))
            time.sleep(0.1)  # the express thread has looked, and waits
            first.open.set()
            until(lambda: sorted(second.batches) == [["first words"], ["starved"]])
            second.open.set()


def held(scheduler: Scheduler, gate: Gate) -> "Future[Any]":
    """Keep the only thread in a call, so that what is sent next has to queue."""
    future = scheduler.submit(job("first"))
    assert gate.entered.wait(5)
    return future


def test_what_arrives_during_a_call_shares_the_next():
    """No waiting to fill a batch: the first goes alone, and those that came meanwhile go together."""
    gate = Gate()
    with running(gate) as scheduler:
        first = held(scheduler, gate)
        others = [scheduler.submit(job(name, request_id=request_id)) for request_id, name in enumerate("abc", start=1)]
        gate.open.set()
        assert [future.result(5) for future in (first, *others)] == ["first", "a", "b", "c"]
    assert gate.batches == [["first"], ["a", "b", "c"]]


def test_one_bad_window_does_not_fail_its_neighbours():
    """A batch that raises is tried again window by window; only the bad one fails, after three tries in all."""
    tries: list[Any] = []
    gate = Gate()

    def run(batch: Batch) -> list[Any]:
        results = gate(batch)
        tries.extend(results)
        if "poison" in results:
            raise ValueError("cannot")
        return results

    with running(run) as scheduler:
        held(scheduler, gate)
        good, bad, fine = (scheduler.submit(job(name)) for name in ("good", "poison", "fine"))
        gate.open.set()
        assert good.result(5) == "good"
        assert fine.result(5) == "fine"
        with pytest.raises(InferenceFailed):
            bad.result(5)
    assert tries.count("poison") == 3


def test_a_window_that_fails_once_is_not_failed():
    """A passing fault costs a retry, not the answer."""
    faults = [ValueError("once")]

    def run(batch: Batch) -> list[Any]:
        if faults:
            raise faults.pop()
        return ["done"] * len(batch.jobs)

    with running(run) as scheduler:
        assert scheduler.submit(job()).result(5) == "done"


@pytest.mark.parametrize(
    "full",
    [
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=["CUDA", "cuBLAS", "host"],
)
def test_out_of_memory_halves_the_batch_and_is_remembered(full: Exception):
    """Every window is still answered, and later batches are no larger than what fitted."""
    gate = Gate()
    sizes: list[int] = []

    def run(batch: Batch) -> list[Any]:
        sizes.append(len(batch.jobs))
        if len(batch.jobs) > 2:
            raise full
        return gate(batch)

    with running(run) as scheduler:
        held(scheduler, gate)
        futures = [scheduler.submit(job(number)) for number in range(8)]
        gate.open.set()
        assert [future.result(5) for future in futures] == list(range(8))
        assert scheduler.limit(Stage.GENERATE) == 2
    assert sizes == [1, 4, 2, 2, 2, 2]


def test_a_single_window_that_finds_no_memory_may_come_again():
    """Where not even one window fits, the caller is told to come later, and the worker lives."""

    def run(batch: Batch) -> list[Any]:
        if batch.jobs[0].payload == "large":
            raise RuntimeError("CUDA failed with error out of memory")
        return ["done"]

    with running(run) as scheduler:
        with pytest.raises(Overloaded):
            scheduler.submit(job("large")).result(5)
        assert scheduler.submit(job("small")).result(5) == "done"


@pytest.mark.parametrize(
    "loss",
    ["CUDA failed with error unspecified launch failure", "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED"],
)
def test_a_lost_device_ends_the_engine_and_nobody_waits(loss: str):
    """Whoever is running, queued or comes later gets EngineStopped, and the failure is told once."""
    gate = Gate()
    told: list[str] = []

    def run(batch: Batch) -> list[Any]:
        gate(batch)
        raise RuntimeError(loss)

    with running(run, on_failure=told.append) as scheduler:
        waiting = [held(scheduler, gate), scheduler.submit(job())]
        gate.open.set()
        for future in waiting:
            with pytest.raises(EngineStopped):
                future.result(5)
        with pytest.raises(EngineStopped):
            scheduler.submit(job())
    assert len(told) == 1


def test_a_device_lost_while_a_window_is_tried_alone_ends_the_engine_too():
    """It is no fault of the window's, and no other window would fare better. Those not yet tried are told as well."""
    gate, faults = Gate(), iter([ValueError("first"), RuntimeError("CUDA failed with error device lost")])
    told: list[str] = []

    def run(batch: Batch) -> list[Any]:
        results = gate(batch)
        if batch.jobs[0].payload != "first":
            raise next(faults)
        return results

    with running(run, on_failure=told.append) as scheduler:
        held(scheduler, gate)
        waiting = [scheduler.submit(job(name)) for name in ("second", "third")]
        gate.open.set()
        for future in waiting:
            with pytest.raises(EngineStopped):
                future.result(5)
    assert len(told) == 1


def test_a_thread_that_dies_leaves_no_future_behind():
    """Even a defect in the engine itself, here a result too few, resolves every future."""
    told: list[str] = []
    with running(lambda _: [], on_failure=told.append) as scheduler, pytest.raises(EngineStopped):
        scheduler.submit(job()).result(5)
    assert len(told) == 1


def test_a_job_whose_request_has_gone_costs_nothing():
    """Cancelled and forgotten jobs are dropped when the batch is formed."""
    gate = Gate()
    with running(gate) as scheduler:
        held(scheduler, gate)
        cancelled, forgotten, kept = (
            scheduler.submit(job(name, request_id=request_id)) for request_id, name in enumerate("abc")
        )
        cancelled.cancel()
        scheduler.cancel_request(1)
        gate.open.set()
        assert kept.result(5) == "c"
        with pytest.raises(CancelledError):
            forgotten.result(5)
    assert gate.batches == [["first"], ["c"]]


def test_a_request_that_has_had_much_stands_back_until_it_ends():
    """What the model has decoded for it counts, and no longer than it lives."""
    gate = Gate()
    with running(gate) as scheduler:
        held(scheduler, gate)
        waiting = [
            scheduler.submit(job(name, request_id=request_id)) for request_id, name in ((0, "long"), (1, "clip"))
        ]
        gate.open.set()
        for future in waiting:
            future.result(5)
        scheduler.cancel_request(0)
        gate.open.clear()
        gate.entered.clear()
        held(scheduler, gate)
        waiting = [
            scheduler.submit(job(name, request_id=request_id)) for request_id, name in ((0, "another"), (1, "clip"))
        ]
        gate.open.set()
        for future in waiting:
            future.result(5)
    assert gate.batches == [["first"], ["clip", "long"], ["first"], ["another", "clip"]]


def test_a_job_past_its_deadline_is_not_run():
    """It is answered with DeadlineExceeded instead."""
    gate = Gate()
    with running(gate) as scheduler:
        held(scheduler, gate)
        late = scheduler.submit(job("late", deadline_in_s=-1))
        gate.open.set()
        with pytest.raises(DeadlineExceeded):
            late.result(5)
    assert gate.batches == [["first"]]


def test_stopping_answers_those_that_wait_and_lets_the_running_finish():
    """No future is left open by a stop."""
    gate = Gate()
    with running(gate) as scheduler:
        first, second = held(scheduler, gate), scheduler.submit(job())
        scheduler.stop()
        with pytest.raises(EngineStopped):
            second.result(5)
        gate.open.set()
        assert first.result(5) == "first"


def test_the_measured_speed_gives_the_expected_wait():
    """Seconds of audio over busy seconds: work that takes 0.05 s for 30 s of audio makes 600 s of it wait about 1 s,
    already when windows have been encoded and none has been decoded."""

    def run(batch: Batch) -> list[Any]:
        time.sleep(0.025 * len(batch.jobs))
        return [None] * len(batch.jobs)

    with running(run) as scheduler:
        for stage in (Stage.ENCODE, Stage.GENERATE):
            for future in [scheduler.submit(replace(job(), stage=stage)) for _ in range(8)]:
                future.result(5)
            assert scheduler.throughput.estimate_s(600.0) == pytest.approx(1.0, rel=0.5)


def test_a_thread_that_has_encoded_waits_for_what_to_decode():
    """A clip does not wait for another call between its own two: the same thread goes on with it."""
    done: list[str] = []

    def run(batch: Batch) -> list[Any]:
        done.extend(each.payload for each in batch.jobs)
        return [None] * len(batch.jobs)

    def decode_next(_: "Future[Any]") -> None:
        threading.Timer(0.02, lambda: scheduler.submit(job("clip, decoded", request_id=1))).start()

    with running(run, coalesce_wait_s=1.0) as scheduler:
        scheduler.submit(job("long", request_id=2)).result(5)
        clip = job("clip, encoded", request_id=1)
        clip.stage = Stage.ENCODE
        clip.future.add_done_callback(decode_next)
        scheduler.submit(clip)
        clip.future.result(5)
        scheduler.submit(job("long", request_id=2)).result(5)
    assert done == ["long", "clip, encoded", "clip, decoded", "long"]


def test_a_call_is_as_old_as_its_own_start():
    """What the watchdog looks at: however long a job had waited, its call has only begun, and may be slow."""
    gate = Gate()
    with running(gate) as scheduler:
        assert scheduler.longest_call_s(time.monotonic()) == 0
        waited = job(deadline_in_s=1.0)
        waited.enqueued_at -= 299
        scheduler.submit(waited)
        assert gate.entered.wait(5)
        assert scheduler.longest_call_s(time.monotonic() + 11) == pytest.approx(11, abs=1)
        gate.open.set()


@pytest.mark.parametrize("error", ["CUDA failed with error device lost", "CUDA failed with error out of memory"])
def test_calls_that_fail_side_by_side_are_told_of_as_one(error: str):
    """A device lost under two calls ends the engine once; memory short for two batches of four leaves twos."""
    together, told = threading.Barrier(2), list[str]()

    def run(batch: Batch) -> list[Any]:
        if len(batch.jobs) == 4:
            together.wait(5)
            raise RuntimeError(error)
        return [None] * len(batch.jobs)

    with running(run, n_threads=2, on_failure=told.append) as scheduler:
        with scheduler._changed:  # so that four of each key go together
            jobs = [replace(job(), key=key, future=Future()) for key in "ab" for _ in range(4)]
            futures = [scheduler.submit(each) for each in jobs]
        errors = {type(future.exception(5)) for future in futures}
        scheduler.stop()
        scheduler.join(5)
        assert scheduler.limit(Stage.GENERATE) == (2 if "memory" in error else 4)
    assert errors == ({type(None)} if "memory" in error else {EngineStopped})
    assert len(told) == ("lost" in error)
