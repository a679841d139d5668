"""The private parts of Uvicorn, Gunicorn and prometheus_client that serving/ overrides and calls.

If a test fails after an upgrade, read the named function in the new release and the module of serving/ that the message
names, adapt that module, run tests/serving and tests/nginx, and raise the upper bound in pyproject.toml.
"""

import asyncio
import inspect
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from gunicorn.sock import TCP6Socket, TCPSocket
from gunicorn.workers.base import Worker
from prometheus_client import values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.mmap_dict import MmapedDict
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from asr_service import metrics
from asr_service.serving.allocated_dict import AllocatedDict
from asr_service.serving.arbiter import SlotArbiter
from asr_service.serving.http.cycle_transport import CycleTransport
from asr_service.serving.http.protocol import BoundedHttp
from asr_service.serving.http.server import SlotServer
from asr_service.serving.http.websocket import BoundedWebSocket
from asr_service.serving.logger import GunicornLogger
from asr_service.serving.metrics_files import FILES_OF_A_PROCESS
from asr_service.serving.worker import SlotWorker

SIGNATURES: list[tuple[type, type, dict[str, str]]] = [
    (
        BoundedHttp,
        HttpToolsProtocol,
        {
            "__init__": "self config server_state app_state _loop",
            "_start_asgi_task": "self cycle app",
            "_unset_keepalive_if_required": "self",
            "connection_lost": "self exc",
            "connection_made": "self transport",
            "data_received": "self data",
            "on_body": "self body",
            "on_header": "self name value",
            "on_headers_complete": "self",
            "on_message_begin": "self",
            "on_message_complete": "self",
            "on_response_complete": "self",
            "shutdown": "self",
        },
    ),
    (BoundedHttp, FlowControl, {"resume_reading": "self"}),
    (
        BoundedWebSocket,
        WebSocketsSansIOProtocol,
        {
            "__init__": "self config server_state app_state _loop",
            "connection_lost": "self exc",
            "connection_made": "self transport",
            "data_received": "self data",
            "keepalive_timeout": "self",
            "send": "self message",
        },
    ),
    (
        SlotServer,
        uvicorn.Server,
        {
            "capture_signals": "self",
            "main_loop": "self",
            "on_tick": "self counter",
            "shutdown": "self sockets",
            "startup": "self sockets",
        },
    ),
    (
        SlotArbiter,
        Arbiter,
        {
            "__init__": "self app",
            "handle_hup": "self",
            "handle_ttin": "self",
            "handle_ttou": "self",
            "handle_usr2": "self",
            "kill_worker": "self pid sig",
            "manage_workers": "self",
            "reap_workers": "self",
            "run": "self",
            "spawn_worker": "self",
            "stop": "self graceful",
            "wait_for_signals": "self timeout",
        },
    ),
    (SlotArbiter, TCPSocket, {"__init__": "self address conf log fd"}),
    (SlotArbiter, TCP6Socket, {"__init__": "self address conf log fd"}),
    (SlotArbiter, HaltServer, {"__init__": "self reason exit_status"}),
    (
        SlotWorker,
        Worker,
        {
            "__init__": "self age ppid sockets app timeout cfg log",
            "init_process": "self",
            "init_signals": "self",
            "load_wsgi": "self",
            "notify": "self",
            "run": "self",
        },
    ),
    (
        GunicornLogger,
        Logger,
        {
            "access": "self resp req environ request_time",
            "close_on_exec": "self",
            "info": "self msg args kwargs",
            "reopen_files": "self",
            "setup": "self cfg",
        },
    ),
    (
        AllocatedDict,
        MmapedDict,
        {
            "__init__": "self filename read_mode",
            "read_value": "self key",
            "write_value": "self key value timestamp",
        },
    ),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "name", "parameters"),
    [
        pytest.param(ours, theirs, name, parameters, id=f"{theirs.__name__}.{name}")
        for ours, theirs, names in SIGNATURES
        for name, parameters in names.items()
    ],
)
def test_a_function_that_we_override_or_call_has_the_expected_parameters(ours, theirs, name, parameters):
    function = getattr(theirs, name, None)
    assert function is not None, f"{theirs.__qualname__}.{name} has gone: see {ours.__module__}"
    assert " ".join(inspect.signature(function).parameters) == parameters, f"see {ours.__module__}"


class Transport(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.n_closes = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.n_closes += 1

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def converse(connection: HttpToolsProtocol, requests: bytes) -> None:
    connection.data_received(requests)
    for _ in range(10):
        await asyncio.sleep(0)


def connected(kind: Callable[..., HttpToolsProtocol]) -> tuple[HttpToolsProtocol, Transport]:
    transport = Transport()
    config = uvicorn.Config(app, http="httptools", ws="none", log_config=None)
    connection = kind(config=config, server_state=ServerState(), app_state={})
    connection.connection_made(transport)
    return connection, transport


GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def test_uvicorns_connection_has_the_attributes_that_we_use() -> None:
    connection, _ = connected(HttpToolsProtocol)
    await converse(connection, GET)
    for name in (
        "cycle",
        "flow",
        "headers",
        "logger",
        "loop",
        "parser",
        "pipeline",
        "server_state",
        "transport",
        "url",
    ):
        assert hasattr(connection, name), f"HttpToolsProtocol.{name} has gone: see {BoundedHttp.__module__}"
    for name in ("body", "disconnected", "message_event", "more_body", "response_complete", "response_started"):
        assert hasattr(connection.cycle, name), f"RequestResponseCycle.{name} has gone: see {BoundedHttp.__module__}"
    assert hasattr(connection.server_state, "connections")
    assert connection.server_state.total_requests == 1


async def test_uvicorns_websocket_has_the_attributes_that_we_use() -> None:
    config = uvicorn.Config(app, http="httptools", ws="none", log_config=None)
    connection = WebSocketsSansIOProtocol(config=config, server_state=ServerState(), app_state={})
    for name in ("handshake_complete", "handshake_initiated", "loop", "ping_timeout", "pong_timer", "read_paused"):
        assert hasattr(connection, name), f"WebSocketsSansIOProtocol.{name} has gone: see {BoundedWebSocket.__module__}"


async def test_uvicorn_starts_every_request_by_the_function_that_we_override() -> None:
    """A pipelined request too; and it writes and closes through the transport of the request's cycle."""
    started: list[RequestResponseCycle] = []
    own = Transport()

    class Recording(HttpToolsProtocol):
        def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
            started.append(cycle)
            cycle.transport = own
            super()._start_asgi_task(cycle, app)

    connection, transport = connected(Recording)
    await converse(connection, GET + GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert len(started) == 2, f"see _start_asgi_task of {BoundedHttp.__module__}"
    assert (own.written.count(b"200 OK"), own.n_closes) == (2, 1), f"see {CycleTransport.__module__}"
    assert (transport.written, transport.n_closes) == (b"", 0)


async def test_uvicorn_arms_its_keep_alive_timer_where_we_disarm_it() -> None:
    connection, _ = connected(HttpToolsProtocol)
    await converse(connection, GET)
    assert connection.timeout_keep_alive_task is not None, f"see on_response_complete of {BoundedHttp.__module__}"
    connection._unset_keepalive_if_required()
    assert connection.timeout_keep_alive_task is None


async def test_uvicorns_server_calls_what_we_override_in_order() -> None:
    """Its end is inside `capture_signals`, which therefore may leave signals to the loop."""
    calls: list[str] = []

    class Recording(uvicorn.Server):
        def capture_signals(self) -> Any:
            calls.append("capture_signals")
            return super().capture_signals()

        async def startup(self, sockets: Any = None) -> None:
            calls.append("startup")
            await super().startup(sockets or [])

        async def main_loop(self) -> None:
            calls.append("main_loop")

        async def shutdown(self, sockets: Any = None) -> None:
            calls.append("shutdown")
            await super().shutdown(sockets)

    server = Recording(uvicorn.Config(app, lifespan="off", log_config=None))
    await server.serve()
    assert calls == ["capture_signals", "startup", "main_loop", "shutdown"], f"see {SlotServer.__module__}"
    for owner, name in (
        *((server, name) for name in ("force_exit", "lifespan", "server_state", "servers", "should_exit")),
        (server.lifespan, "state"),
        (server.config, "timeout_graceful_shutdown"),
    ):
        assert hasattr(owner, name), f"{type(owner).__name__}.{name} has gone: see {SlotServer.__module__}"


class Application(BaseApplication):  # type: ignore[misc]  # Gunicorn has no types
    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> None:
        """Workers make their application themselves."""


def test_gunicorns_master_calls_what_we_override(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The loop fills the slots, then waits for signals; the hooks get the master and the worker before and after a
    fork; a worker has the attributes that we use; `HaltServer` ends the loop with its exit code, and 0 is no error.
    """
    calls: list[str] = []

    class Recording(Arbiter):  # type: ignore[misc]  # Gunicorn has no types
        def start(self) -> None:
            calls.append("start")

        def manage_workers(self) -> None:
            calls.append("manage_workers")
            if calls.count("manage_workers") == 2:
                raise HaltServer(None, 0)

        def wait_for_signals(self, **_: Any) -> list[int]:
            calls.append("wait_for_signals")
            return [signal.SIGHUP]

        def handle_hup(self) -> None:
            calls.append("handle_hup")

        def stop(self, *_: Any) -> None:
            calls.append("stop")

    settings = {"control_socket_disable": True, "worker_tmp_dir": str(tmp_path), "logger_class": GunicornLogger}
    arbiter = Recording(Application(settings))
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit, match=r"^0$"):
        arbiter.run()
    assert caplog.messages == [], f"see {SlotArbiter.__module__}"
    assert calls == ["start", "manage_workers", "wait_for_signals", "handle_hup", "manage_workers", "stop"], (
        f"see {SlotArbiter.__module__}"
    )
    assert (arbiter.LISTENERS, arbiter.WORKERS) == ([], {})
    worker = Worker(1, 2, [], arbiter.app, 3, arbiter.cfg, arbiter.log)
    try:
        found = (worker.ppid, worker.app, worker.timeout)
        assert found == (2, arbiter.app, 3), f"see {SlotWorker.__module__}"
        assert {signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGABRT} <= set(worker.SIGNALS)
        assert hasattr(worker, "pid")
    finally:
        worker.tmp.close()


def test_gunicorns_spawn_worker_calls_the_hooks_and_records_the_worker(tmp_path: Path) -> None:
    hooks: list[Any] = []

    class Ending(Worker):  # type: ignore[misc]  # Gunicorn has no types
        def init_process(self) -> None:

            os._exit(7)

    settings = {
        "control_socket_disable": True,
        "worker_tmp_dir": str(tmp_path),
        "logger_class": GunicornLogger,
        "worker_class": Ending,
        "pre_fork": lambda arbiter, worker: hooks.append((arbiter, worker)),
    }
    arbiter = Arbiter(Application(settings))
    arbiter.pid = 1
    arbiter.WORKERS = {}
    pid = arbiter.spawn_worker()
    worker = arbiter.WORKERS[pid]
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7, f"see {SlotWorker.__module__}"
        assert hooks == [(arbiter, worker)], f"see before_fork of {SlotArbiter.__module__}"
        assert isinstance(worker, Ending)
        assert worker.pid == pid
    finally:
        worker.tmp.close()


def test_prometheus_clients_values_are_in_files_of_the_class_that_we_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of the files have the metric's type and mode, and then the identity of the process."""
    opened: list[str] = []

    class Recording(MmapedDict):
        def __init__(self, filename: str) -> None:
            opened.append(Path(filename).name)
            super().__init__(filename)  # type: ignore[no-untyped-call]

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "MmapedDict", Recording)
    value_class = values.MultiProcessValue(lambda: "me")  # type: ignore[no-untyped-call]
    for type_, mode in (("counter", ""), ("gauge", "livesum")):
        value_class(type_, "m", "m", (), (), "help", multiprocess_mode=mode).inc(1)
    value_class.close_all_files()
    assert opened == ["counter_me.db", "gauge_livesum_me.db"], f"see {AllocatedDict.__module__}"
    used = {
        "_".join(filter(None, (each._type, getattr(each, "_multiprocess_mode", ""))))
        for each in vars(metrics).values()
        if isinstance(each, MetricWrapperBase)
    }
    assert used == set(FILES_OF_A_PROCESS), "see serving/metrics_files.py"
