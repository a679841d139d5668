"""The benchmark of jobs: its ratios and its report. The measurement itself needs a quiet machine."""

from benchmarks.jobs.__main__ import Latency, Measured, Round, markdown
from benchmarks.jobs.measure import Batch


def measured(jobs_s: float, busy_p95: float) -> Measured:
    rounds = [Round(Batch(10.0, 16.0, 0.0), Batch(wall_s, 17.6, 0.1)) for wall_s in (jobs_s, jobs_s, 30.0)]
    return Measured("slots", 60, tuple(rounds), Latency(0.4, 0.5, 0.4, busy_p95, 900))


def test_a_ratio_above_its_target_is_a_problem():
    """The time of a typical round counts, not of one that was disturbed."""
    good, slow, delayed = measured(10.2, 0.55), measured(10.4, 0.55), measured(10.2, 0.65)
    assert (good.time_ratio, good.jobs_per_min) == (1.02, 60 * 60 / 10.2)
    assert not good.problems()
    assert slow.problems() == ["slots: the ratio of time is 1.040, and the target is at most 1.03"]
    assert delayed.problems() == ["slots: the ratio of p95 is 1.300, and the target is at most 1.2"]


def test_the_report_has_every_round():
    text = markdown({"machine": "2 cores"}, [measured(10.2, 0.55)], [])
    assert text.count("| slots |") == 1 + 3 + 1
    assert "All targets are met." in text
