"""A real service with the fake application: its processes, sockets, log and faults."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from processes import children
from serving.client import Answer, CannotConnect, Lost, ask
from waiting import until

TESTS = Path(__file__).parent.parent
QUICK: dict[str, Any] = {
    "tick_s": 0.05,
    "backoff_first_s": 0.2,
    "backoff_most_s": 0.8,
    "accept_grace_s": 0.2,
}


class Service:
    """A running master. `directory` has its sockets, log and faults."""

    def __init__(self, directory: Path, limits: Mapping[str, Any], environ: dict[str, str], launcher: str) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self._log = directory / "log"
        self.faults = directory / "faults"
        self.faults.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", launcher, json.dumps({**QUICK, **limits})],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
                    "ASR_PORT": "0",
                    "ASR_SOCKET_DIR": str(directory / "run"),
                    "ASR_DEVICES": "cpu",
                    "ASR_LOG_FORMAT": "json",
                    "FAKE_DIR": str(self.faults),
                    **environ,
                },
                cwd=directory,
                stdout=log,
                stderr=log,
            )

    def decodes_only(self, n_windows: int | None) -> None:
        """Let the fake model decode this many windows and then wait. None lets it decode all.

        The warm-up of a new worker decodes one.
        """
        windows = self.faults / "windows"
        if n_windows is None:
            windows.unlink(missing_ok=True)
        else:
            windows.write_text(str(n_windows))

    # -- observations

    def text(self) -> str:
        return self._log.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        complete = self.text().rpartition("\n")[0]  # a worker may be writing the last line
        rows = [json.loads(line) for line in complete.splitlines() if line.startswith("{")]
        return [row for row in rows if row["event"] == event]

    def workers(self) -> set[int]:
        return set(children(self.process.pid))

    def socket(self, slot: int) -> Path:
        return self.directory / "run" / f"slot-{slot}.sock"

    @property
    def metrics_dir(self) -> Path:
        (directory,) = (self.directory / "run").glob("metrics*")
        return directory

    @property
    def url(self) -> str:
        return until(lambda: re.search(r"http://127\.0\.0\.1:\d+", self.text()), what="an address")[0]

    def get(self, path: str, slot: int | None = None, timeout_s: float = 60) -> Answer:
        """Send a GET request over TCP or, if a slot is named, over its socket."""
        return ask(self.url if slot is None else str(self.socket(slot)), path, timeout_s)

    def about(self, slot: int | None = None) -> dict[str, Any]:
        about: dict[str, Any] = self.get("/about", slot).json()
        return about

    def metric(self, sample: str, slot: int | None = None) -> float | None:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.get("/metrics", slot).text, re.MULTILINE)
        return float(found[1]) if found else None

    # -- waiting

    def ready(self, *slots: int) -> "Service":
        """Wait until the named slots answer, or until the only slot is ready."""
        for slot in slots:
            until(lambda slot=slot: self.alive() and self.answers(slot), what=f"slot {slot}")  # type: ignore[misc]
        if not slots:
            until(lambda: self.alive() and self.lines("ready"), what="the slot")
        return self

    def alive(self) -> bool:
        assert self.process.poll() is None, self.text()
        return True

    def answers(self, slot: int) -> bool:
        try:
            return self.get("/work", slot).status == 200
        except (CannotConnect, Lost):
            return False

    def ended(self, within_s: float = 60) -> int:
        return self.process.wait(within_s)

    def signal(self, sig: signal.Signals, pid: int | None = None) -> None:
        os.kill(self.process.pid if pid is None else pid, sig)


@contextmanager
def running(
    directory: Path, limits: Mapping[str, Any] | None = None, *, launcher: str = "serving.launcher", **environ: str
) -> Iterator[Service]:
    service = Service(directory, limits or {}, environ, launcher)
    try:
        yield service
    finally:
        family = [psutil.Process(service.process.pid)] if service.process.poll() is None else []
        family += [child for process in family for child in process.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                process.kill()
        service.process.wait(60)
