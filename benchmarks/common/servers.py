"""The processes under load: the service and the baselines, started on free ports and stopped again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

SERVICE, SEQUENTIAL, BATCHED = "service", "sequential", "batched"
BASELINES = (SEQUENTIAL, BATCHED)

Name = Literal["service", "sequential", "batched"]

_START_S = 120.0
_STOP_S = 20.0
_REQUEST_TIMEOUT_S = 580


@dataclass(frozen=True, slots=True)
class Server:
    """One of those measured, up and answering."""

    name: str
    url: str
    """http://..., or unix:PATH"""
    pid: int
    log: Path


@dataclass(frozen=True, slots=True)
class Stage:
    """What all servers have in common: the model and where they may write."""

    model: Path
    compute_type: str
    folder: Path
    device: str = "cpu"
    settings: Mapping[str, str] = field(default_factory=dict)
    """ASR_* variables that the service gets beside these."""


@contextmanager
def running(name: str, stage: Stage) -> Iterator[Server]:
    """Start a server, wait until it takes requests, and stop it with all its children at the end.

    Raises RuntimeError: it did not come up.
    """
    port = free_port()
    log = stage.folder / f"{name}-{port}.log"
    process = spawn(name, stage, port, log)
    server = Server(name, f"http://127.0.0.1:{port}", process.pid, log)
    try:
        wait_until_ready(server, process)
        yield server
    finally:
        stop(process)


def spawn(name: str, stage: Stage, port: int, log: Path) -> "subprocess.Popen[bytes]":
    """Start a server in a process group of its own."""
    command, settings = _service(stage, port) if name == SERVICE else (_baseline(name, stage, port), {})
    with log.open("wb") as out:
        return subprocess.Popen(command, env=_environment() | settings, stdout=out, stderr=out, start_new_session=True)


def wait_until_ready(server: Server, process: "subprocess.Popen[bytes]", every_s: float = 0.02) -> None:
    """Ask until it says that it is ready; 2 min at most. Raises RuntimeError."""
    path = "/health/ready" if server.name == SERVICE else "/health"
    until = time.monotonic() + _START_S
    with httpx.Client(base_url=base_url(server.url), transport=_transport(server.url), timeout=5) as client:
        while time.monotonic() < until and process.poll() is None:
            try:
                if client.get(path).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(every_s)
    raise RuntimeError(f"{server.name} did not come up:\n{server.log.read_text(errors='replace')[-2000:]}")


def leave_on_sigterm() -> None:
    """End a benchmark that is told to end the way Ctrl-C does: its servers would outlive it otherwise."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server as an operator would, and by force where that does not end it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def base_url(url: str) -> str:
    """What stands before the path: over a unix socket, any host will do."""
    return "http://slot" if url.startswith("unix:") else url


def _transport(url: str) -> httpx.HTTPTransport | None:
    return httpx.HTTPTransport(uds=url.removeprefix("unix:")) if url.startswith("unix:") else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _service(stage: Stage, port: int) -> tuple[list[str], dict[str, str]]:
    settings = {
        "ASR_MODEL": str(stage.model),
        "ASR_COMPUTE_TYPE": stage.compute_type,
        "ASR_DEVICES": stage.device,
        "ASR_PORT": str(port),
        "ASR_SOCKET_DIR": str(stage.folder / f"slots-{port}"),
        "ASR_REQUEST_TIMEOUT_S": str(_REQUEST_TIMEOUT_S),
        "ASR_LOG_LEVEL": "warning",
    }
    return [str(Path(sys.executable).parent / "asr-service"), "serve"], settings | dict(stage.settings)


def _baseline(name: str, stage: Stage, port: int) -> list[str]:
    script = [sys.executable, "-m", "benchmarks.common.baseline_server", "--mode", name, "--port", str(port)]
    where = ["--device", stage.device.split(":", maxsplit=1)[0], "--compute-type", stage.compute_type]
    return [*script, "--model", str(stage.model), *where]


def _environment() -> dict[str, str]:
    """Our own, without what is set for a service of the user's, except how it is tuned."""
    tuning = {"ASR_MODEL_THREADS", "ASR_ENCODE_BATCH", "ASR_DECODE_BATCH", "ASR_ENCODER_CONTEXT"}
    return {name: value for name, value in os.environ.items() if not name.startswith("ASR_") or name in tuning}
