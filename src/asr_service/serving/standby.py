"""A process that answers for the only slot while no worker has it."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import structlog
import uvicorn
import uvloop
from uvicorn.server import ServerState

from asr_service import __version__, metrics, tasks
from asr_service.errors import NotReady, error_body
from asr_service.hardware.devices import Slot
from asr_service.lifecycle import SlotState
from asr_service.serving.http.connections import Connections
from asr_service.serving.http.protocol import BoundedHttp
from asr_service.serving.limits import ServerLimits, max_connections
from asr_service.serving.metrics_files import become_standby
from asr_service.serving.sockets import BACKLOG
from asr_service.serving.worker import restore_signals

_CHECK_PARENT_S: Final = 0.25
_FINISH_S: Final = 2.0
"""Maximum time for the answers to accepted connections, after the next worker has started."""

_REFUSED: Final = 503
_PROBES: Final = ("/metrics", "/health", "/health/live", "/health/ready")
_ENDPOINTS: Final = (*metrics.WORK_ENDPOINTS, "/v1/realtime", *_PROBES)
"""The endpoints that the metrics name while there is no worker; the rest are `other`."""

log = structlog.get_logger(__name__)


class Standby:
    """Starts and ends the standby process of a slot with a TCP address.

    The master holds that address. Without the standby process, clients would be connected and wait for an answer until
    the next worker starts, which takes up to a minute after several failures.
    """

    def __init__(self, listener: socket.socket, slot: Slot, limits: ServerLimits) -> None:
        self._listener = listener
        self._slot = slot
        self._limits = limits
        self._pid: int | None = None

    def start(self, wait_s: float, reason: str) -> None:
        """Answer 503 until `stop`; the next worker starts in `wait_s` seconds. The health has the `reason`."""
        self.stop()
        due_s = time.monotonic() + wait_s
        master = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            log.warning("No process answers clients until the next worker starts.", reason=error.strerror)
            return
        if pid == 0:
            self._run(master, _Answers(self._slot, due_s, reason))
        self._pid = pid

    def stop(self) -> None:
        """Let the process answer the connections that it has accepted, and end."""
        self._send(signal.SIGTERM)
        self._pid = None

    def kill(self) -> None:
        """End the process at once."""
        self._send(signal.SIGKILL)
        self._pid = None

    def reaped(self, pid: int) -> None:
        """Note that a process has ended."""
        if pid == self._pid:
            self._pid = None

    def _send(self, sig: signal.Signals) -> None:
        if self._pid is not None:  # it has not been reaped, so the number is still its own
            os.kill(self._pid, sig)

    def _run(self, master: int, answers: "_Answers") -> NoReturn:
        exit_code = 1
        try:
            restore_signals()
            become_standby()
            metrics.show_failure_counters()
            runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
            runner.run(self._serve(master, answers))
            exit_code = 0
        except BaseException:  # no failure may continue the master's code in this process
            log.exception("The standby process failed.")
        finally:
            os._exit(exit_code)

    async def _serve(self, master: int, answers: "_Answers") -> None:
        loop = asyncio.get_running_loop()
        ending = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ending.set)
        config = uvicorn.Config(
            answers,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
        )
        config.load()
        state = ServerState()
        connections = Connections(max_connections(0))
        server = await loop.create_server(
            lambda: BoundedHttp(self._limits, connections, config=config, server_state=state, app_state={}),
            sock=self._listener,
            backlog=BACKLOG,
        )
        while not ending.is_set() and os.getppid() == master:
            await tasks.wait_for_event(ending, _CHECK_PARENT_S)
        server.close()
        finish_by_s = loop.time() + _FINISH_S
        while state.connections and loop.time() < finish_by_s:  # noqa: ASYNC110 - each closes after its answer
            await asyncio.sleep(0.01)


class _Answers:
    """The ASGI application of the standby process."""

    def __init__(self, slot: Slot, due_s: float, reason: str) -> None:
        self._slot = slot
        self._due_s = due_s
        self._reason = reason

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        kind = "websocket.http" if scope["type"] == "websocket" else "http"
        left_s = max(round(self._due_s - time.monotonic()), 1)
        status, answer = self._answer(path := scope["path"].rstrip("/"), left_s)
        _count(path, status)
        body = json.dumps(answer).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"),
            (b"retry-after", b"%d" % left_s),
            (b"connection", b"close"),
        ]
        await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
        await send({"type": f"{kind}.response.body", "body": body})

    def _answer(self, path: str, left_s: int) -> tuple[int, Mapping[str, object]]:
        """Return the status and the body. Only operators need the reason, so only the health has it."""
        if path.endswith("/health/live"):  # the master lives and starts the next worker: a restart would gain nothing
            return 200, {"status": "ok"}
        wait = f"the next one starts in {left_s} s"
        reason = f"the slot's worker has ended ({self._reason}), and {wait}"
        if path.endswith("/health"):
            return _REFUSED, self._health(reason)
        message = f"The slot is not ready: its worker has failed, and {wait}."
        if path.endswith("/health/ready"):
            message = f"The slot is not ready: {reason}."
        return _REFUSED, error_body(_REFUSED, message, NotReady.code)

    def _health(self, reason: str) -> Mapping[str, object]:
        return {
            "status": SlotState.DOWN.value,
            "reason": reason,
            "model_loaded": False,
            "gpu_memory_used": None,
            "slot": self._slot.index,
            "device": str(self._slot.device),
            "version": __version__,
            "response_time_ms": 0.0,
        }


def _count(path: str, status: int) -> None:
    """Count a request as a worker does: a probe is no failure. The path may begin with a prefix, such as /openai."""
    endpoint = next((name for name in _ENDPOINTS if path.endswith(name)), "other")
    metrics.REQUESTS.labels(endpoint, str(status)).inc()
    if status == _REFUSED and endpoint not in _PROBES:
        metrics.FAILURES.labels(NotReady.code).inc()
