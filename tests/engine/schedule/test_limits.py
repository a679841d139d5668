"""How batch limits shrink when memory runs out, and grow back."""

import pytest

from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.schedule.limits import FULL_BATCHES_TO_GROW, AdaptiveLimit


def run_full_batches(limit: AdaptiveLimit, n: int) -> None:
    """Let `n` batches as large as the limit succeed."""
    for _ in range(n):
        limit.note_success(limit.current.n_windows)


def test_a_batch_that_does_not_fit_halves_the_limit():
    """Half of one window is still one window, and a bound on frames stays as it is."""
    limit = AdaptiveLimit(BatchLimit(16, n_frames=3400))
    assert [limit.shrink(n) for n in (16, 8, 4, 2, 1)] == [8, 4, 2, 1, 1]
    assert limit.current == BatchLimit(1, n_frames=3400)


def test_a_batch_smaller_than_the_limit_lowers_it_to_half_of_itself():
    """Half of what did not fit, and not half of what was allowed."""
    limit = AdaptiveLimit(BatchLimit(16))
    assert limit.shrink(6) == 3


def test_two_batches_that_fail_side_by_side_halve_the_limit_once():
    """The second batch was formed before the limit shrank."""
    limit = AdaptiveLimit(BatchLimit(16))
    assert limit.shrink(16) == 8
    assert limit.shrink(16) == 8


def test_the_limit_grows_by_one_window_after_enough_full_batches():
    """Smaller batches prove nothing about a larger one."""
    limit = AdaptiveLimit(BatchLimit(16))
    limit.shrink(16)
    run_full_batches(limit, FULL_BATCHES_TO_GROW - 1)
    assert not any(limit.note_success(7) for _ in range(1000))
    assert limit.current.n_windows == 8
    assert limit.note_success(8)
    assert limit.current.n_windows == 9


def test_the_limit_returns_to_the_configured_one_and_grows_no_further():
    """16 is the most, however many batches succeed."""
    limit = AdaptiveLimit(BatchLimit(16))
    limit.shrink(16)
    run_full_batches(limit, 8 * FULL_BATCHES_TO_GROW)
    assert limit.current == BatchLimit(16)
    assert not any(limit.note_success(16) for _ in range(10 * FULL_BATCHES_TO_GROW))
    assert limit.current == BatchLimit(16)


def test_a_size_that_fails_after_growth_returns_the_limit_to_the_size_before():
    """Nine did not fit and eight did: eight again, and nine is tried after twice as many full batches."""
    limit = AdaptiveLimit(BatchLimit(16))
    limit.shrink(16)
    run_full_batches(limit, FULL_BATCHES_TO_GROW)
    assert limit.shrink(9) == 8
    run_full_batches(limit, 2 * FULL_BATCHES_TO_GROW - 1)
    assert limit.current.n_windows == 8
    run_full_batches(limit, 1)
    assert limit.current.n_windows == 9


def test_a_size_that_fitted_before_is_halved_when_it_no_longer_fits():
    """Something else takes the memory now."""
    limit = AdaptiveLimit(BatchLimit(16))
    limit.shrink(16)
    run_full_batches(limit, FULL_BATCHES_TO_GROW)
    assert limit.shrink(9) == 8
    assert limit.shrink(8) == 4


@pytest.mark.parametrize("n_failures", [10, 100])
def test_the_limit_is_always_tried_again(n_failures: int):
    """However often a size has failed, the number of full batches before the next attempt is bounded."""
    limit = AdaptiveLimit(BatchLimit(2))
    for _ in range(n_failures):
        limit.shrink(2)
        run_full_batches(limit, 32 * FULL_BATCHES_TO_GROW)
        assert limit.current.n_windows == 2
