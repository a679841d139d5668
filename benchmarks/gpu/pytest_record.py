"""A pytest plugin that writes each test's result to a file when it is known, so that a killed run keeps its results.

    pytest -p benchmarks.gpu.pytest_record --record-to FILE --stop-after SECONDS

Each line of the file is a JSON object: `test`, `outcome`, `seconds` and `message`. No test begins after SECONDS.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-to", required=True)
    parser.addoption("--stop-after", type=float, default=float("inf"))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Recorder(Path(config.option.record_to), config.option.stop_after))


class _Recorder:
    def __init__(self, path: Path, stop_after_s: float) -> None:
        self._path = path
        self._until = time.monotonic() + stop_after_s
        path.write_text("", encoding="utf-8")

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if time.monotonic() > self._until:
            item.session.shouldstop = "The time for the tests is over."
            pytest.skip("no time was left")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            message = "" if report.passed else _message(report.longrepr)
            row = {
                "test": report.nodeid.rpartition("/")[2],
                "outcome": report.outcome,
                "seconds": round(report.duration, 2),
                "message": message,
            }
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _message(longrepr: Any) -> str:
    """Return the reason of a skip, or the end of a failure's traceback."""
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)[-2000:]
