"""How much free heap memory a process keeps, and when it returns it."""

import platform
import subprocess
import sys

import pytest

from asr_service.hardware.malloc import TrimSchedule

ON_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")


@ON_GLIBC
def test_large_buffers_are_kept_for_the_next_call():
    """The kernel clears the pages of a repeatedly allocated buffer of a 30 s window only once."""
    program = """
import resource, threading
from asr_service.hardware.malloc import retain_heap
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def take(): bytes([1]) * 72_000_000
def work():
    take(); before = faults()
    for _ in range(5): take()
    print(faults() - before)
retain_heap()
thread = threading.Thread(target=work); thread.start(); thread.join()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 5 * 72_000_000 // 4096 // 10


@ON_GLIBC
def test_trimming_returns_free_memory_between_used_pieces():
    """Half of 100 MB, in pieces that alternate with pieces in use."""
    program = """
import psutil
from asr_service.hardware.malloc import retain_heap, trim_heap
retain_heap()
pieces = [bytearray(1_000_000) for _ in range(100)]
for piece in pieces: piece[::4096] = bytes(len(piece[::4096]))
del pieces[::2], piece
before = psutil.Process().memory_info().rss
trim_heap()
print(before - psutil.Process().memory_info().rss)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(ran.stdout) > 40_000_000


def test_the_heap_is_trimmed_after_work_and_every_ten_minutes_during_it():
    """Once, a minute after the last work; and every ten minutes while the work continues."""
    trimming = TrimSchedule(0.0)
    assert not any(trimming.is_due(float(now), worked_at=0.0) for now in range(0, 7200, 10))  # there was no work
    assert [now for now in range(7200, 7400, 10) if trimming.is_due(float(now), worked_at=7200.0)] == [7270]
    during = [now for now in range(7400, 9000, 10) if trimming.is_due(float(now), worked_at=now - 1.0)]
    assert during == [8010, 8630]
