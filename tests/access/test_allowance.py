"""An allowance is kept by all processes together, to the second."""

import subprocess
import sys
from multiprocessing.pool import ThreadPool

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_service.access.allowance import TokenBucket


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_minutes_worth_may_be_used_at_once_and_fills_up_steadily(tmp_path):
    """60 s a minute: 60 s at once, and then one more each second."""
    clock = Clock()
    allowance = TokenBucket(tmp_path / "a", 60, clock)
    assert allowance.wait_s() == 0
    allowance.charge(59.5)
    assert allowance.wait_s() == 0
    allowance.charge(0.5)
    assert allowance.wait_s() == pytest.approx(1)
    clock.now_s += 1.5
    assert allowance.wait_s() == 0
    clock.now_s += 3600
    allowance.charge(60)
    assert allowance.wait_s() > 0  # an hour of rest is worth no more than a minute


def test_a_long_recording_is_a_debt(tmp_path):
    """Ten minutes against 60 s a minute keep the next waiting for nine; what is given back was never taken."""
    clock = Clock()
    allowance = TokenBucket(tmp_path / "a", 60, clock)
    allowance.charge(600)
    assert allowance.wait_s() == pytest.approx(541)
    allowance.charge(-600)
    assert allowance.wait_s() == 0


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500))), st.floats(1, 1000))
def test_nothing_is_lost_and_nothing_won(tmp_path_factory, charges, per_minute):
    """However it is charged, never more than a burst and the time's worth passes while there is something left."""
    clock = Clock()
    allowance = TokenBucket(tmp_path_factory.mktemp("allowance") / "a", per_minute, clock)
    let_in_s, began_s = 0.0, clock.now_s
    for pause_s, audio_s in charges:
        clock.now_s += pause_s
        if allowance.wait_s() == 0:
            assert let_in_s < per_minute * (1 + (clock.now_s - began_s) / 60) + 1e-6
            allowance.charge(audio_s)
            let_in_s += audio_s


def test_processes_and_threads_count_together(tmp_path):
    """Of two processes with four threads each, in no hurry between reading and writing, no charge is lost."""
    program = (
        "import sys, time; from pathlib import Path; from asr_service.access.allowance import TokenBucket\n"
        "from multiprocessing.pool import ThreadPool\n"
        "allowance = TokenBucket(Path(sys.argv[1]), 1000, lambda: time.sleep(0.001) or 1000.0)\n"
        "ThreadPool(4).map(lambda _: allowance.charge(1), range(40))"
    )
    with ThreadPool(2) as pool:
        pool.map(lambda _: subprocess.run([sys.executable, "-c", program, tmp_path / "a"], check=True), range(2))
    allowance = TokenBucket(tmp_path / "a", 1000, lambda: 1000.0)
    allowance.charge(1000 - 80 - 0.5)
    assert allowance.wait_s() == 0
    allowance.charge(0.5)
    assert allowance.wait_s() > 0


def test_a_damaged_file_is_a_fresh_one(tmp_path):
    """Whoever was killed while writing costs nobody their service."""
    (tmp_path / "a").write_bytes(b"\x00" * 7)
    assert TokenBucket(tmp_path / "a", 60).wait_s() == 0
