"""A service with jobs: run by its slot, or by a job worker with a Redis."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.common.servers import SERVICE, ServerConfig, running, stop

SLOTS, WORKERS = "slots", "workers"
RUNNERS = (SLOTS, WORKERS)

_START_S = 20.0


@dataclass(frozen=True, slots=True)
class Installation:
    """A running service."""

    url: str
    pids: tuple[int, ...]
    """The service and, with job workers, the worker and Redis."""

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its processes, including ended ones that were waited for."""
        return sum(sum(each.cpu_times()[:4]) for pid in self.pids for each in _family(psutil.Process(pid)))


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


@contextmanager
def installed(runner: str, model: Path, folder: Path) -> Iterator[Installation]:
    """Run a service whose jobs are run by `runner`. Raises RuntimeError: a process does not start."""
    environ = {"ASR_STATE_DIR": str(folder / "state"), "ASR_JOBS_MAX_WAITING": "10000"}
    with ExitStack() as stack:
        pids = []
        if runner == WORKERS:
            redis = stack.enter_context(_redis(folder))
            pids.append(redis)
            environ |= {"ASR_JOBS_URL": f"unix://{folder}/redis.sock", "ASR_JOBS_RUNNER": "workers"}
        config = ServerConfig(model, "int8", folder, settings=environ)
        server = stack.enter_context(running(SERVICE, config))
        pids.append(server.pid)
        if runner == WORKERS:
            own = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")}
            command = [str(Path(sys.executable).parent / "asr-service"), "worker", "--service", server.url]
            pids.append(stack.enter_context(_process(command, own | environ, folder / "worker.log")))
        yield Installation(server.url, tuple(pids))


@contextmanager
def _redis(folder: Path) -> Iterator[int]:
    program, socket = shutil.which("redis-server"), folder / "redis.sock"
    if program is None:
        raise RuntimeError("redis-server is not installed: apt-get install redis-server")
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""]
    command = [program, *options, "--appendonly", "yes", "--appendfsync", "always"]
    with _process(command, dict(os.environ), folder / "redis.log") as pid:
        until = time.monotonic() + _START_S
        while not socket.exists():
            if time.monotonic() > until:
                raise RuntimeError(f"Redis did not start: {(folder / 'redis.log').read_text()[-1000:]}")
            time.sleep(0.05)
        yield pid


@contextmanager
def _process(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Iterator[int]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process.pid
    finally:
        stop(process)
