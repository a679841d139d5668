"""A real job worker: `python -m jobs.job_worker` runs one with the times of tests."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.harness import TESTS


class JobWorker:
    """A running worker. Its log is in `directory`."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        directory.mkdir(exist_ok=True)
        self._log = directory / "log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jobs.job_worker"],
                env={**os.environ, "PYTHONPATH": str(TESTS), "ASR_LOG_FORMAT": "json", **environ},
                cwd=directory,
                stdout=log,
                stderr=log,
            )

    def text(self) -> str:
        return self._log.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [row for row in rows if row["event"] == event]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, within_s: float = 10) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


@contextmanager
def working(directory: Path, **environ: str) -> Iterator[JobWorker]:
    worker = JobWorker(directory, environ)
    try:
        yield worker
    finally:
        worker.kill()


if __name__ == "__main__":
    from asr_service.jobs.cluster.worker import run_worker
    from asr_service.jobs.times import RunnerTimes
    from asr_service.logs import configure_logs
    from asr_service.settings import load_settings

    configure_logs(fmt="json")
    times = RunnerTimes(lease_s=1.5, poll_s=0.05, flush_s=0.01, retry_delays_s=(0.1, 0.1), sweep_s=0.1)
    sys.exit(run_worker(load_settings(), times))
