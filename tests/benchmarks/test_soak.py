"""Detection of growth: the slope of a line through the samples, and its limit."""

import numpy as np
import pytest

from benchmarks.soak.watch import Sample, slope, trend


def test_the_slope_is_that_of_least_squares() -> None:
    """It is exact on a line, equals NumPy's fit on noise, and the true slope is within three standard errors."""
    assert slope([0, 1, 3], [5, 7, 11]) == pytest.approx((2.0, 0.0))
    xs = np.arange(200.0)
    ys = 3 + 0.5 * xs + np.random.default_rng(1).normal(0, 4, 200)
    found, error = slope(xs.tolist(), ys.tolist())
    assert found == pytest.approx(np.polyfit(xs, ys, 1)[0])
    assert abs(found - 0.5) < 3 * error < 0.1


@pytest.mark.parametrize("xs", [[], [1, 2], [4, 4, 4]])
def test_fewer_than_three_different_points_have_no_slope(xs: list[float]) -> None:
    with pytest.raises(ValueError, match="three points"):
        slope(xs, xs)


@pytest.mark.parametrize(("grows_mb", "ok"), [(0.9, True), (1.1, False), (-3.0, True)])
def test_a_process_may_grow_by_less_than_a_megabyte_in_100_requests(grows_mb: float, ok: bool) -> None:
    """The limit is per answered request and does not depend on time."""
    samples = [
        Sample(n, 300 + grows_mb * n / 100, 40 + n // 500) for n in (0, 10, 20, 300, 310, 600, 610, 620, 990, 1000)
    ]
    found = trend("worker 0", samples)
    assert found.slope_mb == pytest.approx(grows_mb)
    assert found.ok is ok
    assert (found.first_mb, found.last_mb) == pytest.approx((300 + grows_mb * 0.05, 300 + grows_mb * 9.95))
    assert (found.first_descriptors, found.last_descriptors) == (40.0, 41.5)
