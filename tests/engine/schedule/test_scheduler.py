"""The scheduler's threads resolve every future, and one window's failure does not reach other windows."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule import scheduler as scheduler_module
from asr_service.engine.schedule.batch import Batch, BatchLimit, LiveWork, QueueEntry, form_priority_batch
from asr_service.engine.schedule.limits import FULL_BATCHES_TO_GROW
from asr_service.engine.schedule.scheduler import CLIENT_GAP_S, LIVE_GAP_S, Scheduler
from asr_service.errors import DeadlineExceeded, EngineStopped, InferenceFailed, Overloaded
from waiting import until

LIMITS = dict.fromkeys(Stage, BatchLimit(4))
LOST = "CUDA failed with error an illegal memory access was encountered"


def entry(
    payload: Any = None, *, request_id: int = 0, deadline_in_s: float = 60.0, caller: Caller = UNKNOWN_CALLER
) -> QueueEntry:
    now = time.monotonic()
    return QueueEntry(
        Stage.GENERATE,
        "k",
        request_id,
        payload,
        audio_s=30.0,
        n_frames=3000,
        deadline=now + deadline_in_s,
        enqueued_at=now,
        caller=caller,
    )


@contextmanager
def running(
    run: Callable[[Batch], Sequence[Any]],
    *,
    n_threads: int = 1,
    on_failure: Callable[[str], None] = lambda _: None,
    probe: Callable[[], None] = lambda: None,
    coalesce_wait_s: float = 0.0,
    priority_thread: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Scheduler]:
    scheduler = Scheduler(
        run,
        LIMITS,
        n_threads=n_threads,
        on_failure=on_failure,
        probe=probe,
        coalesce_wait_s=coalesce_wait_s,
        priority_thread=priority_thread,
        clock=clock,
    )
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        scheduler.join(5)


class Gate:
    """A model whose calls wait until the gate is open. Keeps the payloads of each batch."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.batches: list[list[Any]] = []

    def __call__(self, batch: Batch) -> list[Any]:
        self.batches.append([each.payload for each in batch.entries])
        self.entered.set()
        assert self.open.wait(60)
        return [each.payload for each in batch.entries]


def broken_device() -> None:
    """Fail as a trial call does on a device that is lost."""
    raise RuntimeError(LOST)


class TestThePriorityThread:
    """It runs first windows while all ordinary threads are in calls for later windows."""

    @pytest.fixture(autouse=True)
    def looks(self, monkeypatch) -> list[tuple[list[Any], Batch | None]]:
        """Each look of the priority thread at the queue: the payloads that waited, and the batch that it formed."""
        looks: list[tuple[list[Any], Batch | None]] = []

        def form(
            waiting: Collection[QueueEntry],
            running: Collection[Batch],
            limits: Mapping[Stage, BatchLimit],
            penalties_s: Mapping[int, float],
            n_threads: int,
            caller_levels: Mapping[Caller, int],
        ) -> Batch | None:
            batch = form_priority_batch(waiting, running, limits, penalties_s, n_threads, caller_levels)
            looks.append(([each.payload for each in waiting], batch))
            return batch

        monkeypatch.setattr(scheduler_module, "form_priority_batch", form)
        return looks

    @staticmethod
    @contextmanager
    def busy(*, is_first_window: bool = False) -> Iterator[tuple[Scheduler, Gate]]:
        """Keep the only ordinary thread in a call."""
        gate = Gate()
        with running(gate, priority_thread=True) as scheduler:
            scheduler.submit(replace(entry("running"), is_first_window=is_first_window))
            until(lambda: gate.batches == [["running"]])
            yield scheduler, gate
            gate.open.set()

    def test_a_first_window_does_not_wait_for_a_running_call(self):
        """The priority thread takes it at once, and leaves the later windows in the queue."""
        with self.busy() as (scheduler, gate):
            scheduler.submit(entry("later window", request_id=1))
            scheduler.submit(replace(entry("first window", request_id=2), is_first_window=True))
            until(lambda: len(gate.batches) == 2)
            assert gate.batches[1] == ["first window"]

    def test_it_stays_idle_while_another_thread_decodes_a_first_window(self, looks):
        """Two calls would only slow each other down."""
        with self.busy(is_first_window=True) as (scheduler, gate):
            scheduler.submit(replace(entry("first window"), is_first_window=True))
            until(lambda: (["first window"], None) in looks)
            assert gate.batches == [["running"]]

    def test_it_takes_a_first_window_that_waits_when_the_ordinary_threads_become_busy(self, looks):
        """An ordinary thread takes a window of a recording, and the priority thread the clip that waits behind it."""
        first, second = Gate(), Gate()

        def run(batch: Batch) -> list[Any]:
            return (first if batch.entries[0].payload == "running" else second)(batch)

        with running(run, priority_thread=True) as scheduler:
            scheduler.submit(replace(entry("running"), is_first_window=True))
            until(lambda: first.batches == [["running"]])
            scheduler.submit(replace(entry("old", request_id=1), enqueued_at=time.monotonic() - 1))
            scheduler.submit(replace(entry("first window", request_id=2), is_first_window=True, key="clip"))
            until(lambda: (["old", "first window"], None) in looks)
            first.open.set()
            until(lambda: sorted(second.batches) == [["first window"], ["old"]])
            second.open.set()


def held(scheduler: Scheduler, gate: Gate) -> "Future[Any]":
    """Keep the only thread in a call, so that the next entries have to queue."""
    future = scheduler.submit(entry("first"))
    assert gate.entered.wait(60)
    return future


def test_entries_that_arrive_during_a_call_share_the_next_call():
    """The first entry starts at once, without waiting for others to fill its batch."""
    gate = Gate()
    with running(gate) as scheduler:
        first = held(scheduler, gate)
        others = [scheduler.submit(entry(name, request_id=number)) for number, name in enumerate("abc", start=1)]
        gate.open.set()
        assert [future.result(60) for future in (first, *others)] == ["first", "a", "b", "c"]
    assert gate.batches == [["first"], ["a", "b", "c"]]


def test_a_window_that_always_fails_does_not_fail_its_batch():
    """The windows of the failed batch are retried one by one; the bad one fails after three attempts in all."""
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
        good, bad, fine = (scheduler.submit(entry(name)) for name in ("good", "poison", "fine"))
        gate.open.set()
        assert good.result(60) == "good"
        assert fine.result(60) == "fine"
        with pytest.raises(InferenceFailed):
            bad.result(60)
    assert tries.count("poison") == 3


def test_a_window_that_fails_once_succeeds_when_retried():
    """A passing fault costs a retry and not the answer."""
    faults = [ValueError("once")]

    def run(batch: Batch) -> list[Any]:
        if faults:
            raise faults.pop()
        return ["done"] * len(batch.entries)

    with running(run) as scheduler:
        assert scheduler.submit(entry()).result(60) == "done"


class TestOutOfMemory:
    """A batch that does not fit into memory is halved until it fits."""

    @pytest.mark.parametrize(
        "full",
        [
            RuntimeError("CUDA failed with error out of memory"),
            RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
            MemoryError(),
        ],
        ids=["CUDA", "cuBLAS", "host"],
    )
    def test_every_window_is_answered_and_later_batches_are_smaller(self, full: Exception):
        """A batch of four does not fit, and batches of two do."""
        gate = Gate()
        sizes: list[int] = []

        def run(batch: Batch) -> list[Any]:
            sizes.append(len(batch.entries))
            if len(batch.entries) > 2:
                raise full
            return gate(batch)

        with running(run) as scheduler:
            held(scheduler, gate)
            futures = [scheduler.submit(entry(number)) for number in range(8)]
            gate.open.set()
            assert [future.result(60) for future in futures] == list(range(8))
            assert scheduler.limit(Stage.GENERATE) == 2
        assert sizes == [1, 4, 2, 2, 2, 2]

    def test_the_limit_grows_back_after_enough_full_batches(self):
        """Memory was short once: later the batches are as large as before."""
        gate, is_short, sizes = Gate(), [True], list[int]()

        def run(batch: Batch) -> list[Any]:
            sizes.append(len(batch.entries))
            if len(batch.entries) > 2 and is_short:
                raise RuntimeError("CUDA failed with error out of memory")
            return gate(batch)

        with running(run) as scheduler:
            held(scheduler, gate)
            futures = [scheduler.submit(entry()) for _ in range(4)]
            gate.open.set()
            for future in futures:
                future.result(60)
            assert scheduler.limit(Stage.GENERATE) == 2
            is_short.clear()
            gate.open.clear()
            gate.entered.clear()
            held(scheduler, gate)
            futures = [scheduler.submit(entry()) for _ in range((2 + 3) * FULL_BATCHES_TO_GROW + 4)]
            gate.open.set()
            for future in futures:
                future.result(60)
            until(lambda: scheduler.limit(Stage.GENERATE) == 4)
        assert sizes[:5] == [1, 4, 2, 2, 1]
        assert sizes[5:] == [2] * FULL_BATCHES_TO_GROW + [3] * FULL_BATCHES_TO_GROW + [4]

    def test_a_single_window_that_does_not_fit_is_refused_as_overload(self):
        """The client may try again later, and the engine goes on."""

        def run(batch: Batch) -> list[Any]:
            if batch.entries[0].payload == "large":
                raise RuntimeError("CUDA failed with error out of memory")
            return ["done"]

        with running(run) as scheduler:
            with pytest.raises(Overloaded):
                scheduler.submit(entry("large")).result(60)
            assert scheduler.submit(entry("small")).result(60) == "done"


class TestACudaError:
    """A trial call of the model decides whether the device is lost."""

    @pytest.mark.parametrize(
        "loss",
        [
            "CUDA failed with error unspecified launch failure",
            "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED",
            "cuDNN failed with status CUDNN_STATUS_EXECUTION_FAILED",
        ],
    )
    def test_if_the_trial_call_fails_the_engine_ends(self, loss: str):
        """The running entry fails without a retry; all others get EngineStopped; one failure is reported."""
        gate = Gate()
        reported: list[str] = []

        def run(batch: Batch) -> list[Any]:
            gate(batch)
            raise RuntimeError(loss)

        with running(run, on_failure=reported.append, probe=broken_device) as scheduler:
            suspect, waiting = held(scheduler, gate), scheduler.submit(entry("waiting"))
            gate.open.set()
            with pytest.raises(InferenceFailed):
                suspect.result(60)
            with pytest.raises(EngineStopped):
                waiting.result(60)
            with pytest.raises(EngineStopped):
                scheduler.submit(entry())
        assert gate.batches == [["first"]]
        assert len(reported) == 1

    def test_if_the_trial_call_succeeds_the_windows_are_retried_one_by_one(self):
        """The error concerned one call only: both windows are answered, and the engine goes on."""
        gate, faults, reported = Gate(), [RuntimeError(LOST)], list[str]()

        def run(batch: Batch) -> list[Any]:
            results = gate(batch)
            if len(batch.entries) == 2 and faults:
                raise faults.pop()
            return results

        with running(run, on_failure=reported.append) as scheduler:
            held(scheduler, gate)
            futures = [scheduler.submit(entry(name)) for name in "ab"]
            gate.open.set()
            assert [future.result(60) for future in futures] == ["a", "b"]
            assert scheduler.submit(entry("later")).result(60) == "later"
        assert gate.batches == [["first"], ["a", "b"], ["a"], ["b"], ["later"]]
        assert reported == []

    def test_a_trial_call_without_enough_memory_does_not_end_the_engine(self):
        """The memory is full, and the device works."""

        def full() -> None:
            raise RuntimeError("CUDA failed with error out of memory")

        def run(_: Batch) -> list[Any]:
            raise RuntimeError(LOST)

        reported: list[str] = []
        with running(run, on_failure=reported.append, probe=full) as scheduler, pytest.raises(InferenceFailed):
            scheduler.submit(entry()).result(60)
        assert reported == []

    def test_other_errors_make_no_trial_call(self):
        """A bad window or a full memory is no sign of a lost device."""
        errors: list[Exception] = [RuntimeError("CUDA failed with error out of memory"), ValueError("cuda"), OSError()]

        def run(_: Batch) -> list[Any]:
            raise errors[0]

        probes: list[None] = []
        with running(run, probe=lambda: probes.append(None)) as scheduler:
            while errors:
                with pytest.raises((InferenceFailed, Overloaded)):
                    scheduler.submit(entry()).result(60)
                errors.pop(0)
        assert probes == []

    def test_a_device_that_is_lost_while_a_window_is_retried_ends_the_engine_too(self):
        """All windows of the failed batch are answered, those not yet retried among them."""
        gate, faults = Gate(), iter([ValueError("first"), RuntimeError(LOST)])
        reported: list[str] = []

        def run(batch: Batch) -> list[Any]:
            results = gate(batch)
            if batch.entries[0].payload != "first":
                raise next(faults)
            return results

        with running(run, on_failure=reported.append, probe=broken_device) as scheduler:
            held(scheduler, gate)
            waiting = [scheduler.submit(entry(name)) for name in ("second", "third")]
            gate.open.set()
            for future in waiting:
                with pytest.raises(InferenceFailed):
                    future.result(60)
        assert len(reported) == 1


def test_a_model_thread_that_dies_leaves_no_future_unresolved():
    """Even a defect of the engine, here one result too few, resolves every future."""
    reported: list[str] = []
    with running(lambda _: [], on_failure=reported.append) as scheduler, pytest.raises(EngineStopped):
        scheduler.submit(entry()).result(60)
    assert len(reported) == 1


def test_entries_of_cancelled_requests_are_not_run():
    """They are dropped when the next batch is formed."""
    gate = Gate()
    with running(gate) as scheduler:
        held(scheduler, gate)
        cancelled, ended, kept = (scheduler.submit(entry(name, request_id=number)) for number, name in enumerate("abc"))
        cancelled.cancel()
        scheduler.cancel_request(1)
        gate.open.set()
        assert kept.result(60) == "c"
        with pytest.raises(CancelledError):
            ended.result(60)
    assert gate.batches == [["first"], ["c"]]


def test_a_request_is_deprioritised_by_its_decoded_audio_until_it_ends():
    """The penalty counts what was decoded for an open request, and is gone with the request."""
    gate = Gate()
    with running(gate) as scheduler:
        held(scheduler, gate)
        waiting = [scheduler.submit(entry(name, request_id=number)) for number, name in ((0, "long"), (1, "clip"))]
        gate.open.set()
        for future in waiting:
            future.result(60)
        scheduler.cancel_request(0)
        gate.open.clear()
        gate.entered.clear()
        held(scheduler, gate)
        waiting = [scheduler.submit(entry(name, request_id=number)) for number, name in ((0, "another"), (1, "clip"))]
        gate.open.set()
        for future in waiting:
            future.result(60)
    assert gate.batches == [["first"], ["clip", "long"], ["first"], ["another", "clip"]]


@pytest.mark.parametrize("stage", [Stage.ENCODE, Stage.GENERATE])
def test_the_windows_of_a_caller_wait_for_those_of_callers_that_used_less(stage: Stage):
    """Each stage of a caller's earlier windows counts, except those of bulk requests."""
    gate, alice, bob = Gate(), Caller("alice"), Caller("bob")
    with running(gate) as scheduler:
        scheduler.submit(replace(entry("bulk", caller=bob, request_id=9), stage=stage, is_bulk=True))
        until(lambda: gate.batches == [["bulk"]])
        scheduler.submit(replace(entry("alice 1", request_id=1, caller=alice), stage=stage))
        gate.open.set()
        until(lambda: not scheduler.busy)
        gate.open.clear()
        scheduler.submit(replace(entry("alice 2", request_id=2, caller=alice), stage=stage))
        until(lambda: gate.batches[2:] == [["alice 2"]])
        for number in range(3, 6):
            scheduler.submit(replace(entry(f"alice {number}", request_id=number, caller=alice), key=number))
        scheduler.submit(replace(entry("bob 1", request_id=6, caller=bob), key=6))
        gate.open.set()
        until(lambda: not scheduler.busy)
    assert gate.batches[3] == ["bob 1"]


def test_an_entry_past_its_deadline_is_not_run():
    """It fails with DeadlineExceeded."""
    gate = Gate()
    with running(gate) as scheduler:
        held(scheduler, gate)
        late = scheduler.submit(entry("late", deadline_in_s=-1))
        gate.open.set()
        with pytest.raises(DeadlineExceeded):
            late.result(60)
    assert gate.batches == [["first"]]


def test_stopping_fails_the_waiting_entries_and_lets_the_running_call_finish():
    """No future stays unresolved."""
    gate = Gate()
    with running(gate) as scheduler:
        first, second = held(scheduler, gate), scheduler.submit(entry())
        scheduler.stop()
        with pytest.raises(EngineStopped):
            second.result(60)
        gate.open.set()
        assert first.result(60) == "first"


def test_the_expected_wait_follows_from_the_measured_throughput():
    """If 30 s of audio take 0.05 s, 600 s of audio take about 1 s. Encoding alone already counts for half."""

    def run(batch: Batch) -> list[Any]:
        time.sleep(0.025 * len(batch.entries))
        return [None] * len(batch.entries)

    with running(run) as scheduler:
        for stage in (Stage.ENCODE, Stage.GENERATE):
            for future in [scheduler.submit(replace(entry(), stage=stage)) for _ in range(8)]:
                future.result(60)
            assert scheduler.throughput.estimate_s(600.0) == pytest.approx(1.0, rel=0.5)


def test_a_thread_that_has_encoded_a_window_waits_for_its_decode_entry():
    """A clip does not wait for another call between its encoding and its decoding."""
    done: list[str] = []

    def run(batch: Batch) -> list[Any]:
        done.extend(each.payload for each in batch.entries)
        return [None] * len(batch.entries)

    def decode_next(_: "Future[Any]") -> None:
        threading.Timer(0.02, lambda: scheduler.submit(entry("clip, decoded", request_id=1))).start()

    with running(run, coalesce_wait_s=1.0) as scheduler:
        scheduler.submit(entry("long", request_id=2)).result(60)
        clip = entry("clip, encoded", request_id=1)
        clip.stage = Stage.ENCODE
        clip.future.add_done_callback(decode_next)
        scheduler.submit(clip)
        clip.future.result(60)
        scheduler.submit(entry("long", request_id=2)).result(60)
    assert done == ["long", "clip, encoded", "clip, decoded", "long"]


def test_the_age_of_a_call_counts_from_its_own_start():
    """The watchdog must not take a call for hung because its entry had waited for long."""
    gate = Gate()
    with running(gate) as scheduler:
        assert scheduler.longest_call_s(time.monotonic()) == 0
        waited = entry(deadline_in_s=1.0)
        waited.enqueued_at -= 299
        scheduler.submit(waited)
        assert gate.entered.wait(60)
        assert scheduler.longest_call_s(time.monotonic() + 11) == pytest.approx(11, abs=1)
        gate.open.set()


@pytest.mark.parametrize("error", [LOST, "CUDA failed with error out of memory"])
def test_calls_that_fail_side_by_side_count_as_one_failure(error: str):
    """A device lost under two calls ends the engine once; two batches of four without memory leave a limit of two."""
    together, reported = threading.Barrier(2), list[str]()

    def run(batch: Batch) -> list[Any]:
        if len(batch.entries) == 4:
            together.wait(5)
            raise RuntimeError(error)
        return [None] * len(batch.entries)

    with running(run, n_threads=2, on_failure=reported.append, probe=broken_device) as scheduler:
        with scheduler._changed:  # no batch is formed before all entries wait
            entries = [replace(entry(), key=key, future=Future()) for key in "ab" for _ in range(4)]
            futures = [scheduler.submit(each) for each in entries]
        errors = {type(future.exception(5)) for future in futures}
        scheduler.stop()
        scheduler.join(5)
        assert scheduler.limit(Stage.GENERATE) == (2 if "out of memory" in error else 4)
    assert errors == ({type(None)} if "out of memory" in error else {InferenceFailed})
    assert len(reported) == (error == LOST)


def test_waiting_bulk_windows_are_no_load_for_other_requests():
    """They delay no request, so they are no reason to refuse one or to raise an alert."""
    gate = Gate()
    with running(gate) as scheduler:
        held(scheduler, gate)
        scheduler.submit(replace(entry("bulk"), is_bulk=True))
        assert scheduler.depth == 1
        assert scheduler.queued_audio_s == 0
        assert scheduler.oldest_wait_s(time.monotonic() + 100) == 0
        gate.open.set()


class TestBulkWindowsAndAClip:
    """Bulk requests leave a thread free while a client is expected, and take all threads otherwise."""

    @staticmethod
    def bulk(name: str) -> QueueEntry:
        return replace(entry(name, request_id=1), key=name, is_bulk=True)

    def test_a_request_whose_recording_is_being_decoded_finds_a_free_thread(self):
        """Until its end, bulk windows take one thread."""
        gates = {name: Gate() for name in ("bulk 1", "bulk 2", "bulk 3", "clip")}

        def started() -> set[str]:
            return {name for name, gate in gates.items() if gate.batches}

        with running(lambda batch: gates[batch.entries[0].payload](batch), n_threads=2) as scheduler:
            for name in ("bulk 1", "bulk 2", "bulk 3"):
                scheduler.submit(self.bulk(name))
            until(lambda: len(started()) == 2)
            scheduler.expect_client(2)
            gates["bulk 1"].open.set()
            until(lambda: scheduler.depth == 1 and len(scheduler._running) == 1)
            gates["clip"].open.set()
            scheduler.submit(entry("clip", request_id=2)).result(60)
            assert started() == {"bulk 1", "bulk 2", "clip"}
            until(lambda: started() == set(gates), what="the call after the client's gap")
            for gate in gates.values():
                gate.open.set()

    @pytest.mark.parametrize("live", [None, LiveWork.FINAL])
    def test_a_free_thread_is_kept_for_the_next_clip_or_turn(self, live: LiveWork | None):
        """For two seconds, or ten in a live session. The call that ends next is followed by two."""
        now = time.monotonic()
        gates = {name: Gate() for name in ("clip", "bulk 1", "bulk 2", "bulk 3")}

        def started() -> set[str]:
            return {name for name, gate in gates.items() if gate.batches}

        with running(lambda batch: gates[batch.entries[0].payload](batch), n_threads=2, clock=lambda: now) as scheduler:
            gates["clip"].open.set()
            scheduler.submit(replace(entry("clip"), live=live)).result(60)
            until(lambda: not scheduler._running)
            for name in ("bulk 1", "bulk 2", "bulk 3"):
                scheduler.submit(self.bulk(name))
            until(lambda: len(started()) == 2)
            now += (CLIENT_GAP_S if live is None else LIVE_GAP_S) - 0.01
            assert scheduler.has_clients
            assert len(started()) == 2
            now += 0.02
            gates["bulk 1"].open.set()
            until(lambda: started() == set(gates))
            assert not scheduler.has_clients
            gates["bulk 2"].open.set()
            gates["bulk 3"].open.set()

    def test_a_request_that_ends_before_its_first_window_is_expected_no_more(self):
        gate = Gate()
        with running(gate, n_threads=2) as scheduler:
            scheduler.expect_client(2)
            for name in ("bulk 1", "bulk 2"):
                scheduler.submit(self.bulk(name))
            until(lambda: gate.batches == [["bulk 1"]])
            scheduler.cancel_request(2)
            until(lambda: len(gate.batches) == 2)
            gate.open.set()

    def test_the_last_thread_takes_one_bulk_window_at_a_time(self):
        """A client that comes then does not wait long."""
        gate = Gate()
        with running(gate, n_threads=2) as scheduler:
            scheduler.submit(self.bulk("first"))
            until(lambda: len(gate.batches) == 1)
            with scheduler._changed:
                scheduler._waiting += [replace(entry(n, request_id=1), is_bulk=True) for n in range(3)]
                scheduler._changed.notify_all()
            until(lambda: len(gate.batches) == 2)
            assert gate.batches[1] == [0]
            gate.open.set()

    def test_they_take_all_threads_while_there_are_no_other_requests(self):
        gate = Gate()
        with running(gate, n_threads=2) as scheduler:
            for name in ("bulk 1", "bulk 2"):
                scheduler.submit(self.bulk(name))
            until(lambda: len(gate.batches) == 2)
            gate.open.set()

    def test_the_only_thread_runs_them_between_requests(self):
        gate = Gate()
        gate.open.set()
        with running(gate) as scheduler:
            scheduler.submit(entry("clip")).result(60)
            assert scheduler.submit(self.bulk("bulk")).result(60) == "bulk"

    def test_a_clip_that_finds_all_threads_in_their_calls_goes_to_the_priority_thread(self):
        gate = Gate()
        with running(gate, n_threads=2, priority_thread=True) as scheduler:
            for name in ("bulk 1", "bulk 2", "bulk 3"):
                scheduler.submit(replace(self.bulk(name), is_first_window=True))
            until(lambda: len(gate.batches) == 2)
            scheduler.submit(replace(entry("clip", request_id=2), is_first_window=True))
            until(lambda: len(gate.batches) == 3)
            assert gate.batches[2] == ["clip"]
            gate.open.set()
