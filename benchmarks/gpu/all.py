"""Run the tests of a GPU (tests/gpu) and the GPU benchmark within a given time, and write one report.

    python -m benchmarks.gpu.all OUTPUT_FOLDER --minutes 12
    python -m benchmarks.gpu.all OUTPUT_FOLDER --tiny             the same on a CPU with toy models

Run it in the repository root on a machine with an NVIDIA GPU. It needs no network; everything that
requirements-dev.lock and the extra `cuda` name must be installed. Each part ends at its share of the time, and what it
has measured until then is kept. Writes OUTPUT_FOLDER/DEVICE.json and DEVICE.md after each part, where DEVICE is the
name of the GPU. The exit code is 1 if a test or a step of the benchmark failed, or if the tests did not end in time.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import arguments
from benchmarks.common.machine import machine
from benchmarks.common.report import facts, save, table
from benchmarks.common.servers import exit_on_sigterm
from benchmarks.gpu.report import markdown as benchmark_markdown
from benchmarks.gpu.usage import describe_device, device_name, has_gpu

_DEVICE = "cuda:0"
_TESTS_SHARE = 0.45
_EXIT_S = 25.0
"""Time for a part to stop its servers after SIGTERM."""

_INTERRUPTED = int(pytest.ExitCode.INTERRUPTED)

Data = dict[str, Any]


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    if not args.tiny and not has_gpu():
        sys.exit("No NVIDIA GPU was found. Use --tiny to run the same parts on the CPU.")
    args.output.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + args.minutes * 60
    device = "cpu" if args.tiny else _DEVICE
    data: Data = {
        "about": machine() | {"device": describe_device(device), "minutes": f"{args.minutes:g}"},
        "parts": {},
        "tests": [],
        "benchmark": None,
    }
    report = args.output / _file_name(device_name(device))
    try:
        tests_s = args.minutes * 60 * _TESTS_SHARE
        data["parts"]["tests"] = _run_tests(args, tests_s)
        _save(report, data, args.output)
        left_s = until - time.monotonic() - _EXIT_S
        data["parts"]["benchmark"] = _run_benchmark(args, left_s)
    finally:
        _save(report, data, args.output)
    print(markdown(data))
    sys.exit(exit_code(data))


def _run_tests(args: argparse.Namespace, seconds: float) -> str:
    marker = "slow" if args.tiny else "gpu"
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", marker, "-q"]
    command += ["-p", "benchmarks.gpu.pytest_record", "--record-to", str(_tests_file(args.output))]
    return run_part(
        [*command, "--stop-after", str(seconds - _EXIT_S)],
        args.output / "tests.log",
        seconds,
        cut_off_code=_INTERRUPTED,
    )


def _run_benchmark(args: argparse.Namespace, seconds: float) -> str:
    # The last step begins in the first two thirds of the time, and should end within it.
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(_benchmark_file(args.output))]
    command += ["--minutes", str(seconds / 60 * 2 / 3)]
    command += ["--tiny"] if args.tiny else []
    command += ["--model", str(args.model)] if args.model else []
    return run_part(command, args.output / "benchmark.log", seconds)


def run_part(command: Sequence[str], log: Path, seconds: float, cut_off_code: int | None = None) -> str:
    """Run a command for at most `seconds`, then end it with SIGTERM. Returns `ok`, `failed` or `cut off`.

    `cut_off_code` is the exit code of a command that has stopped itself because its time was over.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            code = process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            return "cut off"
        finally:
            _end(process)
    return {0: "ok", cut_off_code: "cut off"}.get(code, "failed")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and everything that it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _save(report: Path, data: Data, output: Path) -> None:
    """Read what the parts have written so far, and write the report."""
    if _tests_file(output).exists():
        lines = _tests_file(output).read_text(encoding="utf-8").splitlines()
        data["tests"] = [json.loads(line) for line in lines]
    benchmark = _benchmark_file(output).with_suffix(".json")
    if benchmark.exists():
        data["benchmark"] = json.loads(benchmark.read_text(encoding="utf-8"))
    save(report, data, markdown(data))


def markdown(data: Mapping[str, Any]) -> str:
    outcomes = Counter(test["outcome"] for test in data["tests"])
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "no test ended"
    rows = [(test["test"], test["outcome"], f"{test['seconds']:.1f}") for test in data["tests"]]
    parts = ["# Tests and benchmark of a GPU", facts(data["about"]), facts(data["parts"])]
    parts += ["## Tests", f"{counts}.", table(("test", "outcome", "s"), rows)]
    parts += [
        f"### {test['test']}\n\n```\n{test['message']}\n```" for test in data["tests"] if test["outcome"] == "failed"
    ]
    if data["benchmark"]:
        parts.append(
            benchmark_markdown(data["benchmark"]).replace("\n#", "\n##").replace("# GPU", "## GPU", 1).rstrip()
        )
    return "\n\n".join(parts) + "\n"


def exit_code(data: Mapping[str, Any]) -> int:
    """Return 1 if a test failed, if the tests were cut off, or if a step of the benchmark failed."""
    tests_ok = data["parts"]["tests"] == "ok" and all(test["outcome"] != "failed" for test in data["tests"])
    return 0 if tests_ok and data["parts"]["benchmark"] != "failed" else 1


def _tests_file(output: Path) -> Path:
    return output / "tests.jsonl"


def _benchmark_file(output: Path) -> Path:
    return output / "benchmark"


def _file_name(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def _arguments() -> argparse.Namespace:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("output", type=Path, metavar="OUTPUT_FOLDER")
    parser.add_argument("--minutes", type=float, default=12.0, help="time for everything (default: 12)")
    parser.add_argument("--model", type=Path, help="folder of a model with real weights for the benchmark")
    parser.add_argument("--tiny", action="store_true", help="run the CPU form of the tests and of the benchmark")
    return parser.parse_args()


if __name__ == "__main__":
    main()
