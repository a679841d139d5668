"""`asr-service tune`'s choice among sizes, and its measurements of a model whose cost is known."""

import os
import time
from dataclasses import replace

import pytest

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.tuning.choice import Measured, Point, Sizes, Work, choose
from asr_service.engine.tuning.measure import Tuner, thread_counts
from asr_service.hardware.devices import Device
from fakes import Call, FakeModel

CPU = Device("cpu")
CLIP, WINDOW = Work("clip", 1728, 33), Work("window", 3000, 90)
WORKS = (CLIP, WINDOW)
DEFAULT = Sizes(2, BatchLimit(1), BatchLimit(4, n_frames=3400))


def sizes(threads: int, encode: int, decode: int) -> Sizes:
    return Sizes(threads, BatchLimit(encode), BatchLimit(decode))


def measured(*, saving: float = 1.0, window_s: float = 0.3) -> Measured:
    """Two threads; in a decoding call each window after the first costs `saving` of the first."""
    points = [Point(Stage.ENCODE, work, 2, batch, 10 / batch, 0.2 * batch**2) for work in WORKS for batch in (1, 2)]
    for work in WORKS:
        for batch in (1, 2, 4):
            call_s = window_s * (1 + saving * (batch - 1))
            points.append(Point(Stage.GENERATE, work, 2, batch, 2 * batch / call_s, call_s))
    return Measured(tuple(points))


GRID = [sizes(2, encode, decode) for encode in (1, 2) for decode in (1, 2, 4)]


def test_the_fastest_is_taken():
    """Where windows decode better together and worse encode together, each stage gets its own number."""
    assert choose(measured(saving=0.2), WORKS, GRID, DEFAULT) == sizes(2, 1, 4)


def test_the_default_stays_where_nothing_is_better():
    """No gain, no change; neither for one of two percent."""
    assert choose(measured(saving=1.0), WORKS, GRID, DEFAULT) == DEFAULT
    assert choose(measured(saving=0.98), WORKS, GRID, DEFAULT) == DEFAULT


def test_a_batch_whose_call_lasts_too_long_is_not_taken():
    """However much faster it is: no clip is served meanwhile. A window that is slow alone is decoded alone."""
    assert choose(measured(saving=0.2, window_s=0.8), WORKS, GRID, DEFAULT) == sizes(2, 1, 2)
    assert choose(measured(saving=0.2, window_s=1.2), WORKS, GRID, DEFAULT) == DEFAULT


def test_of_sizes_as_good_the_smallest_is_taken():
    """Its calls are shorter, for the same speed."""
    points = [point for point in measured(saving=0.2).points if point.batch < 4]
    fours = [replace(point, batch=4) for point in points if point.batch == 2]
    assert choose(Measured((*points, *fours)), WORKS, GRID, DEFAULT) == sizes(2, 1, 2)


def test_a_stage_that_gains_nothing_keeps_the_defaults_limit():
    """A number that does the same here would do less for windows that were not measured."""
    points = list(measured(saving=1.0).points)
    fast = [replace(point, threads=4, windows_per_s=2 * point.windows_per_s) for point in points]
    grid = [Sizes(4, encode, decode) for encode in (BatchLimit(1),) for decode in (BatchLimit(1), DEFAULT.decode)]
    assert choose(Measured((*points, *fast)), WORKS, grid, DEFAULT) == replace(DEFAULT, threads=4)


def test_what_was_not_measured_is_not_taken():
    """More threads or windows than the device has memory for leave no point behind."""
    assert choose(measured(saving=0.2), WORKS, [sizes(4, 1, 1), sizes(2, 1, 8)], DEFAULT) == DEFAULT


def test_the_fastest_of_several_measurements_counts():
    """What else the machine did can only have slowed the others."""
    points = measured(saving=0.2).points
    slow = tuple(replace(point, windows_per_s=point.windows_per_s / 9) for point in points if point.batch == 4)
    assert choose(Measured((*slow, *points, *slow)), WORKS, GRID, DEFAULT) == sizes(2, 1, 4)


def costing(first_s: float, more_s: float, most_windows: int = 99) -> FakeModel:
    """A model whose calls last `first_s`, and `more_s` for each further window; it has memory for `most_windows`."""

    def before(call: Call) -> None:
        if call.n_windows > most_windows:
            raise RuntimeError("CUDA failed with error out of memory")
        time.sleep(first_s + more_s * (call.n_windows - 1))

    return FakeModel(before=before)


def test_slots_that_share_the_cores_are_not_tuned_to_have_them_all(monkeypatch):
    """One of two on four cores is measured with up to two threads: the other has the rest."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    assert thread_counts(sizes(4, 1, 4), CPU, 1) == (1, 2, 4)
    assert thread_counts(sizes(2, 1, 4), CPU, 2) == (1, 2)


class TestMeasuring:
    def test_a_model_that_gains_by_company_gets_company(self):
        """A call that costs the same for eight windows as for one: eight at once, and far more than 5 % faster."""
        tuning = Tuner(costing(0.05, 0.0), sizes(1, 1, 1), WORKS, beam_size=5, rounds_s=0).tune([1])
        assert (tuning.chosen.encode, tuning.chosen.decode) == (BatchLimit(8), BatchLimit(8))
        assert tuning.gain > 2

    def test_threads_that_run_side_by_side_are_found(self):
        """Sleeping calls do not disturb each other: two threads do twice the work of one."""
        tuning = Tuner(costing(0.05, 0.1), sizes(1, 1, 1), WORKS, beam_size=5, rounds_s=0).tune([1, 2])
        assert tuning.chosen == sizes(2, 1, 1)
        assert tuning.gain > 1.3

    def test_a_device_that_is_full_ends_the_search(self):
        """Batches that it has no memory for are passed over, the largest that it has is chosen."""
        tuning = Tuner(costing(0.05, 0.0, most_windows=4), sizes(1, 1, 1), WORKS, beam_size=5, rounds_s=0).tune([1])
        assert (tuning.chosen.encode, tuning.chosen.decode) == (BatchLimit(4), BatchLimit(4))

    def test_every_window_is_decoded_to_the_same_length(self):
        """The end of text is forbidden and the length bounded, whatever the model makes of the sound."""
        model = FakeModel()
        Tuner(model, sizes(1, 1, 1), (CLIP,), beam_size=3, rounds_s=0).tune([1])
        eot = model.tokenizer.token_to_id("<|endoftext|>")
        for call in model.calls_of("generate"):
            assert call.options is not None
            assert eot in call.options.suppress_tokens
            assert (call.options.max_length, call.options.beam_size) == (2 * CLIP.n_tokens, 3)

    def test_a_device_that_cannot_do_the_default_says_so(self):
        """The failure is the device's own."""
        with pytest.raises(RuntimeError, match="out of memory"):
            Tuner(costing(0, 0, most_windows=0), DEFAULT, WORKS, beam_size=5, rounds_s=0).tune([1])
