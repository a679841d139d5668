"""Programs that a benchmark kills and starts again."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_START_S = 120.0
_STOP_S = 20.0


class Program:
    """A program with all its processes. Its log is kept over several lives."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.command = tuple(command)
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._spent_s = 0.0

    @property
    def pid(self) -> int:
        """Return the pid of the first process. Raises RuntimeError: it does not run."""
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it in a session of its own, in which its descendants stay."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command, env=self._environ, stdout=out, stderr=out, start_new_session=True
            )

    def wait_until(self, is_ready: Callable[[], object], within_s: float = _START_S) -> None:
        """Wait until it is ready. Raises RuntimeError: it has ended, or it is not ready within `within_s`."""
        until = time.monotonic() + within_s
        while not is_ready():
            if not self.is_running or time.monotonic() > until:
                raise RuntimeError(f"{self.name} is not ready. Its log ends with:\n{self.text()[-2000:]}")
            time.sleep(0.05)

    def processes(self) -> list[psutil.Process]:
        """Return its processes, the first one first."""
        if self._process is None:
            return []
        found = [each for each in psutil.process_iter() if _session_of(each.pid) == self._process.pid]
        return sorted(found, key=lambda each: each.pid != self.pid)

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its processes in all its lives."""
        return self._spent_s + sum(map(_cpu_s, self.processes()))

    def kill(self) -> int:
        """Kill all its processes with SIGKILL. Returns how many there were."""
        processes = self.processes()
        self._spent_s += sum(map(_cpu_s, processes))
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._end()
        psutil.wait_procs(processes, _STOP_S)
        return len(processes)

    def stop(self) -> None:
        """Stop it with SIGTERM, and with SIGKILL after 20 s."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        self.kill()

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _end(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _cpu_s(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:4]))  # user and system time, and the same of children waited for
    return 0.0
