"""Start and stop the servers under load: the service, and faster-whisper behind FastAPI as the baseline."""

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

import httpx

SERVICE, SEQUENTIAL, BATCHED, TUNED = "service", "sequential", "batched", "tuned"
BASELINES = (SEQUENTIAL, BATCHED)
"""faster-whisper as its documentation shows it. `TUNED` has one worker of one thread for each core instead."""

SERVERS = (SERVICE, *BASELINES, TUNED)

_START_S = 120.0
_STOP_S = 20.0
_REQUEST_TIMEOUT_S = 580


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    url: str
    """`http://HOST:PORT` or `unix:PATH`."""
    pid: int
    log: Path


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What all servers of a benchmark have in common."""

    model: Path
    compute_type: str
    folder: Path
    """For logs and sockets."""
    device: str = "cpu"
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further ASR_* variables for the service."""


@contextmanager
def running(name: str, config: ServerConfig) -> Iterator[Server]:
    """Start a server, wait until it is ready, and stop it with its child processes at the end.

    Raises RuntimeError: when the server does not become ready.
    """
    port = free_port()
    log = config.folder / f"{name}-{port}.log"
    process = spawn(name, config, port, log)
    server = Server(name, f"http://127.0.0.1:{port}", process.pid, log)
    try:
        wait_until_ready(server, process)
        yield server
    finally:
        stop(process)


def spawn(name: str, config: ServerConfig, port: int, log: Path) -> "subprocess.Popen[bytes]":
    """Start a server in a process group of its own."""
    command, settings = _service(config, port) if name == SERVICE else (_baseline(name, config, port), {})
    with log.open("wb") as out:
        return subprocess.Popen(command, env=_environment() | settings, stdout=out, stderr=out, start_new_session=True)


def wait_until_ready(server: Server, process: "subprocess.Popen[bytes]", every_s: float = 0.02) -> None:
    """Poll the server's health until it is ready, for at most 2 minutes.

    Raises RuntimeError: when it does not become ready.
    """
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
    log = server.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"The server {server.name!r} did not become ready. Its log ends with:\n{log}")


def exit_on_sigterm() -> None:
    """Exit on SIGTERM by an exception, as on Ctrl-C, so that the servers are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGTERM, and SIGKILL to the process group if the server still runs after 20 s."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def base_url(url: str) -> str:
    """Return the part of a URL before the path. Over a Unix socket the host name is arbitrary."""
    return "http://slot" if url.startswith("unix:") else url


def _transport(url: str) -> httpx.HTTPTransport | None:
    return httpx.HTTPTransport(uds=url.removeprefix("unix:")) if url.startswith("unix:") else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _service(config: ServerConfig, port: int) -> tuple[list[str], dict[str, str]]:
    settings = {
        "ASR_MODEL": str(config.model),
        "ASR_COMPUTE_TYPE": config.compute_type,
        "ASR_DEVICES": config.device,
        "ASR_PORT": str(port),
        "ASR_SOCKET_DIR": str(config.folder / f"slots-{port}"),
        "ASR_REQUEST_TIMEOUT_S": str(_REQUEST_TIMEOUT_S),
        "ASR_LOG_LEVEL": "warning",
    }
    return [str(Path(sys.executable).parent / "asr-service"), "serve"], settings | dict(config.settings)


def _baseline(name: str, config: ServerConfig, port: int) -> list[str]:
    mode = SEQUENTIAL if name == TUNED else name
    module = [sys.executable, "-m", "benchmarks.common.baseline_server", "--mode", mode, "--port", str(port)]
    where = ["--device", config.device.split(":", maxsplit=1)[0], "--compute-type", config.compute_type]
    tuning = ["--workers", str(os.cpu_count() or 1), "--cpu-threads", "1"] if name == TUNED else []
    return [*module, "--model", str(config.model), *where, *tuning]


def _environment() -> dict[str, str]:
    """Return this process's environment without ASR_* variables, except those that tune the model's calls."""
    tuning = {"ASR_MODEL_THREADS", "ASR_ENCODE_BATCH", "ASR_DECODE_BATCH", "ASR_ENCODER_CONTEXT"}
    return {name: value for name, value in os.environ.items() if not name.startswith("ASR_") or name in tuning}
