"""Measurement of the memory of a process tree, and the long recording."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.common.material import RATE
from benchmarks.soak.memory import tree_memory, write_recording

_HOLDS_64_MIB = "import sys; held = bytearray(b'1' * 2**26); print('held', flush=True); sys.stdin.read()"


def test_the_memory_of_children_is_counted() -> None:
    """The sum includes a child's own pages. PSS counts shared pages once, so it is at most RSS."""
    before_pss, _ = tree_memory(os.getpid())
    command = [sys.executable, "-c", _HOLDS_64_MIB]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        pss, rss = tree_memory(os.getpid())
        child.kill()
    assert pss - before_pss > 2**26
    assert rss >= pss


def test_the_long_recording_is_speech_followed_by_faint_noise(tmp_path: Path) -> None:
    """It has the requested length in whole minutes, and a clip every ten minutes after the speech."""
    speech, clip = np.full(90 * RATE, 0.5, np.float32), np.full(RATE, 0.25, np.float32)
    write_recording(speech, clip, 900.0, tmp_path / "long.flac")
    samples, rate = soundfile.read(tmp_path / "long.flac", dtype="float32")
    assert rate == RATE
    assert len(samples) / RATE == 90 + 13 * 60
    loud = np.abs(samples).reshape(-1, RATE).mean(axis=1) > 0.1
    assert [int(second) for second in np.flatnonzero(loud)] == [*range(90), 90, 690]
