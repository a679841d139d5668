"""All processes share one token bucket, and no second of audio is lost."""

import subprocess
import sys
from multiprocessing.pool import ThreadPool

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_service.access.token_bucket import TokenBucket


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_the_bucket_holds_one_minutes_worth_and_refills_steadily(tmp_path):
    """A limit of 60 s a minute allows 60 s at once, and then one more second each second."""
    clock = Clock()
    bucket = TokenBucket(tmp_path / "a", 60, clock)
    assert bucket.wait_s() == 0
    bucket.charge(59.5)
    assert bucket.wait_s() == 0
    bucket.charge(0.5)
    assert bucket.wait_s() == pytest.approx(1)
    clock.now_s += 1.5
    assert bucket.wait_s() == 0
    clock.now_s += 3600
    bucket.charge(60)
    assert bucket.wait_s() > 0  # an hour without requests refills no more than a minute's worth


def test_a_long_recording_overdraws_the_bucket(tmp_path):
    """Ten minutes of audio at 60 s a minute delay the next request by nine minutes. A refund removes the delay."""
    clock = Clock()
    bucket = TokenBucket(tmp_path / "a", 60, clock)
    bucket.charge(600)
    assert bucket.wait_s() == pytest.approx(541)
    bucket.charge(-600)
    assert bucket.wait_s() == 0


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500))), st.floats(1, 1000))
def test_a_key_never_gets_more_than_its_rate_allows(tmp_path_factory, charges, per_minute):
    """While something is left, the audio admitted so far is below one minute's worth plus the refill."""
    clock = Clock()
    bucket = TokenBucket(tmp_path_factory.mktemp("bucket") / "a", per_minute, clock)
    admitted_s, began_s = 0.0, clock.now_s
    for pause_s, audio_s in charges:
        clock.now_s += pause_s
        if bucket.wait_s() == 0:
            assert admitted_s < per_minute * (1 + (clock.now_s - began_s) / 60) + 1e-6
            bucket.charge(audio_s)
            admitted_s += audio_s


def test_concurrent_processes_and_threads_lose_no_charge(tmp_path):
    """Two processes with four threads each charge the same bucket, with a pause between reading and writing."""
    program = (
        "import sys, time; from pathlib import Path; from asr_service.access.token_bucket import TokenBucket\n"
        "from multiprocessing.pool import ThreadPool\n"
        "bucket = TokenBucket(Path(sys.argv[1]), 1000, lambda: time.sleep(0.001) or 1000.0)\n"
        "ThreadPool(4).map(lambda _: bucket.charge(1), range(40))"
    )
    with ThreadPool(2) as pool:
        pool.map(lambda _: subprocess.run([sys.executable, "-c", program, tmp_path / "a"], check=True), range(2))
    bucket = TokenBucket(tmp_path / "a", 1000, lambda: 1000.0)
    bucket.charge(1000 - 80 - 0.5)
    assert bucket.wait_s() == 0
    bucket.charge(0.5)
    assert bucket.wait_s() > 0


def test_a_damaged_file_counts_as_a_full_bucket(tmp_path):
    """A process that was killed while it wrote the file does not lock the key out."""
    (tmp_path / "a").write_bytes(b"\x00" * 7)
    assert TokenBucket(tmp_path / "a", 60).wait_s() == 0
