"""The program that runs the GPU's tests and benchmark: time limits, results of a part that is cut off, exit codes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu.all import exit_code, markdown, run_part
from waiting import until

ROOT = Path(__file__).parents[2]
TEST = {"test": "test_a.py::test_one", "outcome": "passed", "seconds": 0.1, "message": ""}


def test_a_part_and_its_children_are_ended_when_its_time_is_over(tmp_path):
    script = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    began = time.monotonic()
    assert run_part([sys.executable, "-c", script], tmp_path / "log", 1.5) == "cut off"
    assert time.monotonic() - began < 20
    child = int((tmp_path / "log").read_text())
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(("code", "state"), [(0, "ok"), (3, "failed"), (2, "cut off")])
def test_a_part_that_ends_by_itself_has_the_state_of_its_exit_code(tmp_path, code, state):
    assert run_part([sys.executable, "-c", f"raise SystemExit({code})"], tmp_path / "log", 30, cut_off_code=2) == state


@pytest.mark.parametrize(
    ("tests", "benchmark", "outcome", "code"),
    [
        ("ok", "ok", "passed", 0),
        ("ok", "cut off", "passed", 0),
        ("ok", "failed", "passed", 1),
        ("failed", "ok", "failed", 1),
        ("cut off", "ok", "passed", 1),
    ],
)
def test_the_exit_code_is_one_if_anything_failed_or_tests_were_cut_off(tests, benchmark, outcome, code):
    data = {"parts": {"tests": tests, "benchmark": benchmark}, "tests": [TEST | {"outcome": outcome}]}
    assert exit_code(data) == code


def test_the_report_shows_the_message_of_a_failed_test():
    failed = TEST | {"outcome": "failed", "message": "assert 1 == 2"}
    page = markdown({"about": {}, "parts": {"tests": "failed"}, "tests": [TEST, failed], "benchmark": None})
    assert "1 passed, 1 failed." in page
    assert "assert 1 == 2" in page


def test_the_result_of_each_test_is_kept_when_the_run_is_killed(tmp_path):
    """The plugin writes a result as soon as it is known."""
    (tmp_path / "test_some.py").write_text(
        "import os, pytest\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert 1 == 2\n"
        "@pytest.mark.skip(reason='no device')\n"
        "def test_skips(): pass\n"
        "def test_is_killed(): os._exit(9)\n"
    )
    record = tmp_path / "record.jsonl"
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "benchmarks.gpu.pytest_record"]
    command += ["--record-to", str(record), str(tmp_path / "test_some.py")]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 9
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(row["test"].rpartition("::")[2], row["outcome"]) for row in rows] == [
        ("test_passes", "passed"),
        ("test_fails", "failed"),
        ("test_skips", "skipped"),
    ]
    assert "assert 1 == 2" in rows[1]["message"]
    assert "no device" in rows[2]["message"]


def test_no_test_begins_after_the_time_is_over(tmp_path):
    (tmp_path / "test_some.py").write_text(
        "import time\ndef test_one(): time.sleep(1.5)\ndef test_two(): pass\ndef test_three(): pass\n"
    )
    record = tmp_path / "record.jsonl"
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "benchmarks.gpu.pytest_record"]
    command += ["--record-to", str(record), "--stop-after", "1", str(tmp_path / "test_some.py")]
    subprocess.run(command, check=False, cwd=ROOT, capture_output=True, timeout=60)
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["passed", "skipped"]
