"""The choice among measurements, and measurements of a model whose speed is known."""

import os
import time
from dataclasses import replace

import pytest

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.sizing import GpuMemory
from asr_service.engine.tuning.choice import Measurement, Measurements, Parallelism, Workload, choose
from asr_service.engine.tuning.measure import Tuner, default_parallelism, thread_counts
from asr_service.hardware.devices import Device
from asr_service.models.dimensions import ModelDimensions
from asr_service.settings import Settings
from fakes import Call, FakeModel

CPU, GPU = Device("cpu"), Device("cuda", 0)
CLIP, WINDOW = Workload("clip", 1728, 33), Workload("window", 3000, 90)
WORKLOADS = (CLIP, WINDOW)
DEFAULT = Parallelism(2, BatchLimit(1), BatchLimit(4, n_frames=4096))


def parallelism(threads: int, encode: int, decode: int) -> Parallelism:
    return Parallelism(threads, BatchLimit(encode), BatchLimit(decode))


def measured(*, saving: float = 1.0, window_s: float = 0.3) -> Measurements:
    """Two threads. In a decoder call each window after the first costs `saving` times the first."""
    made = [
        Measurement(Stage.ENCODE, workload, 2, batch, 10 / batch, 0.2 * batch**2)
        for workload in WORKLOADS
        for batch in (1, 2)
    ]
    for workload in WORKLOADS:
        for batch in (1, 2, 4):
            call_s = window_s * (1 + saving * (batch - 1))
            made.append(Measurement(Stage.GENERATE, workload, 2, batch, 2 * batch / call_s, call_s))
    return Measurements(tuple(made))


GRID = [parallelism(2, encode, decode) for encode in (1, 2) for decode in (1, 2, 4)]


def test_the_fastest_batch_of_each_stage_is_chosen():
    """Windows that decode faster together and encode slower together get different batch sizes."""
    assert choose(measured(saving=0.2), WORKLOADS, GRID, DEFAULT) == parallelism(2, 1, 4)


def test_the_default_stays_if_nothing_is_faster():
    """A gain of two percent changes nothing either."""
    assert choose(measured(saving=1.0), WORKLOADS, GRID, DEFAULT) == DEFAULT
    assert choose(measured(saving=0.98), WORKLOADS, GRID, DEFAULT) == DEFAULT


def test_more_threads_may_be_chosen_however_long_a_window_takes():
    """Only larger batches make the calls longer than those of the default."""
    default, more = parallelism(2, 1, 1), parallelism(4, 1, 1)
    made = [
        Measurement(stage, workload, each.threads, 1, each.threads / 1.5, 1.5)
        for stage in (Stage.ENCODE, Stage.GENERATE)
        for workload in WORKLOADS
        for each in (default, more)
    ]
    assert choose(Measurements(tuple(made)), WORKLOADS, [default, more], default) == more


def test_a_batch_whose_call_takes_too_long_is_not_chosen():
    """However much faster it is: no clip is served meanwhile. A window that is slow alone is decoded alone."""
    assert choose(measured(saving=0.2, window_s=0.8), WORKLOADS, GRID, DEFAULT) == parallelism(2, 1, 2)
    assert choose(measured(saving=0.2, window_s=1.2), WORKLOADS, GRID, DEFAULT) == DEFAULT


def test_among_equally_fast_batches_the_smallest_is_chosen():
    """Its calls are shorter."""
    made = [each for each in measured(saving=0.2).all if each.batch < 4]
    fours = [replace(each, batch=4) for each in made if each.batch == 2]
    assert choose(Measurements((*made, *fours)), WORKLOADS, GRID, DEFAULT) == parallelism(2, 1, 2)


def test_a_stage_that_gains_nothing_keeps_its_default_limit():
    """A number that is as fast for the measured windows would be slower for others."""
    made = list(measured(saving=1.0).all)
    fast = [replace(each, threads=4, windows_per_s=2 * each.windows_per_s) for each in made]
    grid = [Parallelism(4, encode, decode) for encode in (BatchLimit(1),) for decode in (BatchLimit(1), DEFAULT.decode)]
    assert choose(Measurements((*made, *fast)), WORKLOADS, grid, DEFAULT) == replace(DEFAULT, threads=4)


def test_a_candidate_without_measurement_is_not_chosen():
    """Threads or batches that do not fit into memory have none."""
    candidates = [parallelism(4, 1, 1), parallelism(2, 1, 8)]
    assert choose(measured(saving=0.2), WORKLOADS, candidates, DEFAULT) == DEFAULT


def test_the_fastest_of_several_measurements_counts():
    """Other work of the machine can only have slowed the others down."""
    made = measured(saving=0.2).all
    slow = tuple(replace(each, windows_per_s=each.windows_per_s / 9) for each in made if each.batch == 4)
    assert choose(Measurements((*slow, *made, *slow)), WORKLOADS, GRID, DEFAULT) == parallelism(2, 1, 4)


def costing(first_s: float, more_s: float, max_windows: int = 99) -> FakeModel:
    """A model whose calls take `first_s`, and `more_s` for each further window. More windows do not fit into memory."""

    def before(call: Call) -> None:
        if call.n_windows > max_windows:
            raise RuntimeError("CUDA failed with error out of memory")
        time.sleep(first_s + more_s * (call.n_windows - 1))

    return FakeModel(before=before)


def tuner(model: FakeModel, default: Parallelism, beam_size: int = 5) -> Tuner:
    """A tuner that measures each case twice and no longer."""
    return Tuner(model, default, WORKLOADS, beam_size, min_time_s=0)


def test_slots_that_share_a_cpu_are_tried_with_their_share_of_the_cores(monkeypatch):
    """Of two slots on four cores, one is measured with up to two threads."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    assert thread_counts(4, CPU, 1) == (1, 2, 4)
    assert thread_counts(2, CPU, 2) == (1, 2)


def test_a_gpu_is_tried_with_1_2_and_4_threads():
    """While one thread's call is between two stages, another thread's call can use the GPU."""
    assert thread_counts(1, GPU) == (1, 2, 4)


def test_the_default_on_a_gpu_is_what_fits_into_its_memory():
    """A default that does not fit could not be measured."""
    settings = Settings(model_threads=3, decode_batch=99)
    assert default_parallelism(settings, GPU) == parallelism(1, 8, 16)
    memory = GpuMemory(4 * 1024**3, ModelDimensions(1280, 32, 20), "float16", 1)
    assert default_parallelism(settings, GPU, memory) == parallelism(1, 8, 5)


class TestMeasuring:
    """Calls that sleep have a known speed."""

    def test_a_model_that_is_as_fast_with_eight_windows_as_with_one_gets_batches_of_eight(self):
        """The gain is far more than 5 %."""
        result = tuner(costing(0.05, 0.0), parallelism(1, 1, 1)).tune([1])
        assert (result.chosen.encode, result.chosen.decode) == (BatchLimit(8), BatchLimit(8))
        assert result.gain > 2

    def test_threads_that_run_side_by_side_are_chosen(self):
        """Two sleeping calls do not slow each other down: two threads are twice as fast as one.

        A call of two windows takes ten times as long as one of one, so that no delay of a busy machine hides it.
        """
        result = tuner(costing(0.05, 0.45, max_windows=2), parallelism(1, 1, 1)).tune([1, 2])
        assert result.chosen == parallelism(2, 1, 1)
        assert result.gain > 1.3

    def test_the_search_ends_at_the_largest_batch_that_fits_into_memory(self):
        """Batches that do not fit are ignored."""
        result = tuner(costing(0.05, 0.0, max_windows=4), parallelism(1, 1, 1)).tune([1])
        assert (result.chosen.encode, result.chosen.decode) == (BatchLimit(4), BatchLimit(4))

    def test_every_window_is_decoded_to_the_same_number_of_tokens(self):
        """The end-of-text token is suppressed and the length is bounded, whatever the model would write."""
        model = FakeModel()
        Tuner(model, parallelism(1, 1, 1), (CLIP,), beam_size=3, min_time_s=0).tune([1])
        eot = model.tokenizer.token_to_id("<|endoftext|>")
        for call in model.calls_of("generate"):
            assert call.options is not None
            assert eot in call.options.suppress_tokens
            assert (call.options.max_length, call.options.beam_size) == (2 * CLIP.n_tokens, 3)

    def test_a_device_that_cannot_run_the_default_raises_its_error(self):
        """No choice can be made."""
        with pytest.raises(RuntimeError, match="out of memory"):
            tuner(costing(0, 0, max_windows=0), DEFAULT).tune([1])
