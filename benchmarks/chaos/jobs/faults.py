"""The faults: how each is injected into services with jobs, and which refusals are allowed meanwhile."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos.jobs.ledger import NO_RESPONSE, Ledger
from benchmarks.common.cluster import REDIS, SQLITE, WORKERS, Cluster, Service, redis_client, start_redis
from benchmarks.common.object_store import ObjectStore
from benchmarks.common.programs import Program
from benchmarks.common.sender import new_request_id
from benchmarks.common.stack import until

UNAVAILABLE, NOT_READY, NO_ANSWER = "503 unavailable", "503 not_ready", NO_RESPONSE

_OUTAGE_S = 20.0
"""Longer than a lease."""
_LOCK_S = 30.0
_WAIT_S = 120.0
_BYTES = 1024**2


class NotPossible(Exception):
    """The fault cannot be injected on this machine. The message gives the reason."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What an injection can use."""

    cluster: Cluster
    ledger: Ledger
    minute: Path
    """About a minute of speech, so that a job runs for some seconds."""
    state: Path
    """The state directory of a service with SQLite."""
    files: ObjectStore | None

    def submit_long(self) -> str:
        """Submit a job that runs for some seconds, and return its id when it runs. Raises TimeoutError."""
        key = new_request_id("long")
        self.ledger.submit(self.minute, key)
        job_id = next(each.job_id for each in self.ledger.accepted if each.key == key)
        until(lambda: self._is_running(job_id), _WAIT_S, "A running job", every_s=0.1)
        return job_id

    def _is_running(self, job_id: str) -> bool:
        job = self.cluster.show(job_id)
        return job is not None and job["status"] == "running"


@dataclass(frozen=True, slots=True)
class Fault:
    layout: str
    name: str
    inject: Callable[[Scene], str]
    """Injects the fault, ends it, and returns a remark. Raises NotPossible. Raises TimeoutError."""
    allowed: frozenset[str] = frozenset()
    """Beginnings of the kinds of refusals that submissions may get meanwhile."""
    in_smoke: bool = False


def slot_killed(scene: Scene) -> str:
    """Kill the slot that runs a job."""
    slot = _runner(scene, scene.submit_long())
    slot.kill()
    return ""


def slot_stopped(scene: Scene) -> str:
    """Stop the slot that runs a job for longer than its lease, and let it continue. Its job has another runner then."""
    job_id = scene.submit_long()
    slot = _runner(scene, job_id)
    slot.suspend()
    try:
        time.sleep(_OUTAGE_S)
    finally:
        slot.resume()
    return f"stopped for {_OUTAGE_S:.0f} s"


def service_killed(scene: Scene) -> str:
    """Kill a whole service. The others continue, if there are any."""
    scene.submit_long()
    scene.cluster.services[0].program.kill()
    scene.cluster.start()
    return ""


def services_killed(scene: Scene) -> str:
    """Kill all services."""
    scene.submit_long()
    for each in scene.cluster.services:
        each.program.kill()
    scene.cluster.start()
    return ""


def everything_killed(scene: Scene) -> str:
    scene.submit_long()
    n_processes = scene.cluster.kill()
    scene.cluster.start()
    return f"{n_processes} processes"


def worker_killed(scene: Scene) -> str:
    """Kill both job workers."""
    scene.submit_long()
    for each in scene.cluster.workers:
        each.kill()
    scene.cluster.start()
    return ""


def worker_stopped(scene: Scene) -> str:
    """Stop a job worker for longer than its leases, and let it continue."""
    scene.submit_long()
    with _suspended(scene.cluster.workers[0]):
        time.sleep(_OUTAGE_S)
    return f"stopped for {_OUTAGE_S:.0f} s"


def redis_killed(scene: Scene) -> str:
    scene.submit_long()
    server = _redis(scene)
    server.kill()
    time.sleep(_OUTAGE_S)
    start_redis(server)
    return f"down for {_OUTAGE_S:.0f} s; it has an append-only file"


def redis_hangs(scene: Scene) -> str:
    scene.submit_long()
    with _suspended(_redis(scene)):
        time.sleep(_OUTAGE_S)
    return f"stopped for {_OUTAGE_S:.0f} s"


def redis_full(scene: Scene) -> str:
    """Leave Redis no memory, with `noeviction`. Accepted jobs must end meanwhile."""
    job_id = scene.submit_long()
    client = redis_client(_redis(scene))
    client.config_set("maxmemory", "1")
    try:
        until(
            lambda: (scene.cluster.show(job_id) or {}).get("status") == "succeeded",
            _WAIT_S,
            "The end of an accepted job",
            every_s=0.1,
        )
        time.sleep(_OUTAGE_S / 4)
    finally:
        client.config_set("maxmemory", "0")
    return "a job ended while the memory was full"


def files_unreachable(scene: Scene) -> str:
    """Kill the object store, and start it again."""
    assert scene.files is not None
    scene.submit_long()
    scene.files.program.kill()
    time.sleep(_OUTAGE_S)
    scene.files.start()
    return f"down for {_OUTAGE_S:.0f} s"


def files_hang(scene: Scene) -> str:
    """Stop the object store: it accepts connections and does not answer."""
    assert scene.files is not None
    scene.submit_long()
    with _suspended(scene.files.program):
        time.sleep(_OUTAGE_S)
    return f"stopped for {_OUTAGE_S:.0f} s"


def disk_full(scene: Scene) -> str:
    """Fill the disk of the state directory, for longer than a lease."""
    _require_own_disk(scene.state)
    scene.submit_long()
    filler = scene.state / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(_BYTES))
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(512))
        time.sleep(_OUTAGE_S)
    finally:
        filler.unlink()
    return f"for {_OUTAGE_S:.0f} s"


def records_locked(scene: Scene) -> str:
    """Hold the write lock of the SQLite file, as a program that copies it may do."""
    scene.submit_long()
    with closing(sqlite3.connect(scene.state / "jobs" / "jobs.sqlite3", isolation_level=None)) as other:
        other.execute("PRAGMA busy_timeout=20000")
        other.execute("BEGIN IMMEDIATE")
        began, slowest_s = time.monotonic(), 0.0
        while time.monotonic() < began + _LOCK_S:
            asked = time.monotonic()
            scene.cluster.send("GET", "/jobs")
            slowest_s = max(slowest_s, time.monotonic() - asked)
            time.sleep(0.2)
        other.execute("ROLLBACK")
    if slowest_s > 5:
        raise TimeoutError(f"GET /jobs took {slowest_s:.1f} s.")
    return f"for {_LOCK_S:.0f} s; GET /jobs took at most {slowest_s:.1f} s"


def receiver_down(scene: Scene) -> str:
    """Let the receiver of webhooks answer 503, until each event has been attempted."""
    receiver = scene.cluster.receiver
    receiver.status = 503
    try:
        job_id = scene.submit_long()
        until(
            lambda: any(each.job_id == job_id for each in receiver.arrivals),
            _WAIT_S,
            "An attempt at an event",
            every_s=0.1,
        )
    finally:
        receiver.status = 204
    return "the next attempt follows 30 s later"


def _runner(scene: Scene, job_id: str) -> psutil.Process:
    """Return the process of the slot that runs a job."""

    def found() -> psutil.Process | None:
        for service in scene.cluster.services:
            for line in _lines(service):
                if line["event"] == "job started" and line.get("job_id") == job_id:
                    return psutil.Process(line["pid"])
        return None

    return until(found, _WAIT_S, "A log line of the job", every_s=0.1)


def _lines(service: Service) -> Iterator[dict[str, Any]]:
    for line in service.program.text().splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def _redis(scene: Scene) -> Program:
    assert scene.cluster.redis is not None
    return scene.cluster.redis


@contextmanager
def _suspended(program: Program) -> Iterator[None]:
    """Stop all processes of a program with SIGSTOP for the duration of the block."""
    processes = program.processes()
    for each in processes:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            os.kill(each.pid, signal.SIGCONT)


def _require_own_disk(directory: Path) -> None:
    if not directory.is_mount():
        raise NotPossible("needs root, to mount a small file system")


_DOWN = frozenset({UNAVAILABLE, NOT_READY, NO_ANSWER})
_REFUSED = frozenset({UNAVAILABLE})

FAULTS = (
    Fault(SQLITE, "kill -9 of the slot that runs a job", slot_killed, _DOWN, in_smoke=True),
    Fault(SQLITE, "SIGSTOP of the slot that runs a job", slot_stopped, _DOWN),
    Fault(SQLITE, "kill -9 of all processes", everything_killed, _DOWN),
    Fault(SQLITE, "full disk", disk_full, _REFUSED),
    Fault(SQLITE, "records locked by another program", records_locked, _REFUSED),
    Fault(SQLITE, "receiver of webhooks down", receiver_down),
    Fault(REDIS, "kill -9 of the slot that runs a job", slot_killed, _DOWN),
    Fault(REDIS, "kill -9 of a whole service", service_killed, _DOWN),
    Fault(REDIS, "kill -9 of Redis", redis_killed, _REFUSED, in_smoke=True),
    Fault(REDIS, "Redis hangs", redis_hangs, _REFUSED),
    Fault(REDIS, "Redis without free memory", redis_full, _REFUSED),
    Fault(REDIS, "kill -9 of the object store", files_unreachable, _REFUSED),
    Fault(REDIS, "the object store hangs", files_hang, _REFUSED),
    Fault(WORKERS, "kill -9 of the job workers", worker_killed, in_smoke=True),
    Fault(WORKERS, "SIGSTOP of a job worker", worker_stopped),
    Fault(WORKERS, "kill -9 of the services", services_killed, _DOWN),
    Fault(WORKERS, "kill -9 of Redis", redis_killed, _REFUSED),
    Fault(WORKERS, "kill -9 of all processes", everything_killed, _DOWN),
)
