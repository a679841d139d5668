"""A process that is killed during a call, and the process that follows it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu.usage import memory_used
from waiting import until

ROOT = Path(__file__).parents[2]
FREED_WITHIN_BYTES = 64 * 2**20


@pytest.fixture
def start(model_folder, device):
    """Start `gpu.child`. Every child is killed at the end of the test."""
    children: list[subprocess.Popen[str]] = []

    def start_child(mode: str) -> "subprocess.Popen[str]":
        path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
        command = [sys.executable, "-m", "gpu.child", mode, str(model_folder), str(device)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
        children.append(child)
        return child

    yield start_child
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.timeout(300)
def test_the_successor_of_a_process_killed_during_a_call_works(start, device):
    """The device has its memory back, and the successor loads the model and returns the same tokens."""
    before = memory_used(str(device))
    first = start("forever")
    expected = json.loads(first.stdout.readline())
    assert all(expected)
    assert memory_used(str(device)) > before
    time.sleep(0.2)  # the child is in a further call
    assert first.poll() is None
    first.kill()
    assert first.wait(30) == -signal.SIGKILL
    until(lambda: memory_used(str(device)) < before + FREED_WITHIN_BYTES, within_s=30, what="the device's memory")
    successor = start("once")
    output, _ = successor.communicate(timeout=120)
    assert successor.returncode == 0
    assert json.loads(output) == expected
