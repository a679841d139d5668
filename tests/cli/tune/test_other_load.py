"""What `asr-service tune` says about other programs on the machine."""

import io

import pytest
from rich.console import Console

from asr_service.cli.tune.other_load import CpuTimes, OtherLoad

START = CpuTimes(at_s=100.0, busy_s=5000.0, own_s=3.0)


def warnings_at(*readings: CpuTimes) -> list[int]:
    """Return how many warnings were printed by each reading, on a machine of two cores."""
    given = iter([START, *readings])
    shown = io.StringIO()
    load = OtherLoad(lambda: next(given), n_cores=2)
    counts = []
    for _ in readings:
        load.warn(Console(file=shown, width=200))
        counts.append(shown.getvalue().count("Other programs use the CPU."))
    return counts


@pytest.mark.parametrize(("others_s", "expected"), [(1.9, 0), (2.1, 1)])
def test_a_tenth_of_the_cores_may_work_for_other_programs(others_s, expected):
    """Ten seconds of two cores are twenty. What this process uses does not count."""
    assert warnings_at(CpuTimes(110.0, 5000.0 + 15.0 + others_s, 18.0)) == [expected]


def test_a_busy_machine_is_named_once_and_not_only_at_the_end():
    """The measurement takes minutes, so the operator can stop it."""
    quiet, busy, later = CpuTimes(101.0, 5001.0, 4.0), CpuTimes(102.0, 5003.0, 5.0), CpuTimes(103.0, 5006.0, 6.0)
    assert warnings_at(quiet, busy, later) == [0, 1, 1]
