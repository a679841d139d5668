"""What a process keeps of its heap, and gives back."""

import platform
import subprocess
import sys

import pytest

from asr_service.hardware.malloc import TrimSchedule

ON_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")


@ON_GLIBC
def test_large_buffers_are_kept_for_the_next_call():
    """A buffer like those of a 30 s window, taken and given back again and again, is cleared by the kernel once."""
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
def test_what_is_free_between_used_memory_is_given_back():
    """Half of 100 MB, in pieces with others in use between them."""
    program = """
import psutil
from asr_service.hardware.malloc import trim_heap, retain_heap
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


def test_memory_is_given_back_after_work_and_now_and_then_during_it():
    """A minute after the last, once; and every ten minutes while there is no such minute."""
    trimming = TrimSchedule(0.0)
    assert not any(trimming.is_due(float(now), worked_at=0.0) for now in range(0, 7200, 10))  # nothing was ever done
    assert [now for now in range(7200, 7400, 10) if trimming.is_due(float(now), worked_at=7200.0)] == [7270]
    during = [now for now in range(7400, 9000, 10) if trimming.is_due(float(now), worked_at=now - 1.0)]
    assert during == [8010, 8630]
