"""Services with jobs, as they are installed: on one machine, on two machines with a Redis, or with a job worker.

Each program can be killed and started again; its data is kept.
"""

import itertools
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import redis

from asr_service.webhooks.signing import new_secret
from benchmarks.common.programs import Program
from benchmarks.common.receiver import Receiver, receiving
from benchmarks.common.servers import free_port

SQLITE, REDIS, WORKERS = "sqlite", "redis", "workers"
LAYOUTS = (SQLITE, REDIS, WORKERS)
ABOUT = {
    SQLITE: "one service with two slots, SQLite",
    REDIS: "two services with two slots each, Redis; the slots run the jobs",
    WORKERS: "two services with two slots each, Redis; Celery workers run the jobs",
}

_PROGRAMS = Path(sys.executable).parent
_TIMEOUT_S = 75.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service. Each of its slots has a socket."""

    program: Program
    sockets: tuple[Path, ...]

    def is_ready(self) -> bool:
        return all(map(_is_ready, self.sockets))


class Cluster:
    """The programs of a layout, and a client of its services."""

    def __init__(
        self, services: list[Service], workers: list[Program], redis_server: Program | None, receiver: Receiver
    ) -> None:
        self.services = services
        self.workers = workers
        self.redis = redis_server
        self.receiver = receiver
        self._turns = itertools.cycle([socket for each in services for socket in each.sockets])
        self._n_sockets = sum(len(each.sockets) for each in services)

    @property
    def programs(self) -> list[Program]:
        """Return all programs, in the order in which they start."""
        first = [] if self.redis is None else [self.redis]
        return [*first, *(each.program for each in self.services), *self.workers]

    def start(self) -> None:
        """Start what does not run, and wait until it is ready. Raises RuntimeError: a program is not ready."""
        if self.redis is not None and not self.redis.is_running:
            start_redis(self.redis)
        for each in self.services:
            if not each.program.is_running:
                each.program.start()
        for each in self.services:
            each.program.wait_until(each.is_ready)
        for worker in self.workers:
            if not worker.is_running:
                worker.start()

    def kill(self) -> int:
        """Kill every process of every program. Returns how many there were."""
        return sum(each.kill() for each in self.programs)

    def stop(self) -> None:
        for each in reversed(self.programs):
            each.stop()

    def cpu_s(self) -> float:
        return sum(each.cpu_s() for each in self.programs)

    def send(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Send a request to the next slot that can be reached. Raises httpx.ConnectError: there is none."""
        for socket in itertools.islice(self._turns, self._n_sockets):
            with suppress(httpx.ConnectError), _client(socket) as client:
                return client.request(method, path, **given)
        raise httpx.ConnectError("No slot can be reached.")

    def submit(self, recording: Path, *, key: str | None = None, **fields: str) -> httpx.Response:
        """Submit a job whose event goes to the receiver."""
        headers = {} if key is None else {"idempotency-key": key}
        with recording.open("rb") as file:
            data = {"webhook_url": self.receiver.url, **fields}
            return self.send("POST", "/jobs", files={"file": file}, data=data, headers=headers)

    def show(self, job_id: str) -> dict[str, Any] | None:
        """Return a job; None while no slot can answer."""
        with suppress(httpx.TransportError):
            answer = self.send("GET", f"/jobs/{job_id}")
            if answer.is_success:
                job: dict[str, Any] = answer.json()
                return job
        return None


@contextmanager
def running(
    layout: str, model: Path, folder: Path, settings: Mapping[str, str] | None = None, redis_options: str = ""
) -> Iterator[Cluster]:
    """Run a layout in the folder, with further ASR_* variables. Raises RuntimeError: a program does not start."""
    with receiving(new_secret()) as receiver:
        cluster = _cluster(layout, model, folder, receiver, settings or {}, redis_options)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def _cluster(
    layout: str, model: Path, folder: Path, receiver: Receiver, settings: Mapping[str, str], redis_options: str
) -> Cluster:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")} | {
        "ASR_MODEL": str(model),
        "ASR_COMPUTE_TYPE": "int8",
        "ASR_DEVICES": "cpu,cpu",
        "ASR_LOG_FORMAT": "json",
        "ASR_WEBHOOK_SECRET": receiver.secret,
        "ASR_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
    }
    if layout == SQLITE:
        environ |= {"ASR_STATE_DIR": str(folder / "state"), **settings}
        return Cluster([_service("service", folder, environ)], [], None, receiver)
    port = free_port()
    (folder / "files").mkdir(parents=True, exist_ok=True)
    environ |= {"ASR_JOBS_URL": f"redis://127.0.0.1:{port}/0", "ASR_JOBS_FILES": str(folder / "files")}
    environ |= {"ASR_JOBS_RUNNER": "workers"} if layout == WORKERS else {}
    environ |= settings
    services = [_service(name, folder, environ) for name in ("first", "second")]
    workers = []
    if layout == WORKERS:
        addresses = ",".join(f"unix:{socket}" for each in services for socket in each.sockets)
        of_workers = environ | {"ASR_SERVICE_URL": addresses}
        workers = [
            Program(name, [str(_PROGRAMS / "asr-service"), "worker"], of_workers, folder / f"{name}.log")
            for name in ("worker-1", "worker-2")
        ]
    return Cluster(services, workers, _redis(folder, port, redis_options), receiver)


def _service(name: str, folder: Path, environ: Mapping[str, str]) -> Service:
    own = folder / name
    own.mkdir()
    settings = {"ASR_SOCKET_DIR": str(own / "run"), "TMPDIR": str(own)}
    program = Program(name, [str(_PROGRAMS / "asr-service"), "serve"], {**environ, **settings}, own / "log")
    return Service(program, tuple(own / "run" / f"slot-{number}.sock" for number in (0, 1)))


def _redis(folder: Path, port: int, options: str) -> Program:
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is not installed: apt-get install redis-server")
    (folder / "redis").mkdir()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder / "redis"), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always", *options.split()]
    return Program("redis", command, os.environ, folder / "redis.log")


def start_redis(server: Program) -> None:
    """Start a Redis, and wait until it answers. Raises RuntimeError: it does not."""
    server.start()
    server.wait_until(partial(_answers, redis_client(server)))


def redis_client(server: Program) -> "redis.Redis":
    """Return a client of a Redis of this module."""
    return redis.Redis(port=int(server.command[2]), socket_timeout=5)


def _answers(client: "redis.Redis") -> bool:
    with suppress(redis.RedisError):
        return bool(client.ping())
    return False


def _is_ready(socket: Path) -> bool:
    with suppress(httpx.TransportError), _client(socket, 5) as client:
        return client.get("/health/ready").is_success
    return False


def _client(socket: Path, timeout_s: float = _TIMEOUT_S) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(socket), verify=False)  # no TLS: its certificates take 20 ms to load
    return httpx.Client(transport=transport, base_url="http://slot", timeout=timeout_s)
