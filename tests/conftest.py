"""The environment of every test: the real base model, and no network but this machine's own."""

import functools
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from hypothesis import settings

from asr_service.models.packaged import packaged_parts
from asr_service.models.registry import MODELS
from asr_service.models.resolution import ensure_model
from asr_service.settings import Settings
from programs import report_missing, require_program

if TYPE_CHECKING:
    from benchmarks.common.object_store import ObjectStore
    from redis_server import RedisServer

# Rich traces write out every variable, arrays too: seconds for each, on a busy machine too many.
_plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _plain])

# On a busy machine one example may take any time.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

# A developer's own settings are no part of the tests.
for name in [name for name in os.environ if name.startswith("ASR_")]:
    del os.environ[name]


def _require_local(host: str | bytes) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name == "localhost":
        return
    try:
        local = ip_address(name).is_loopback or ip_address(name).is_unspecified
    except ValueError:
        local = False
    if not local:
        raise RuntimeError(f"A test tried to reach the network: {name}")


def _locally(connect: Callable[..., Any]) -> Callable[..., Any]:
    def connect_locally(own: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple):
            _require_local(address[0])
        return connect(own, address)

    return connect_locally


def _of_local_names(look_up: Callable[..., Any]) -> Callable[..., Any]:
    def look_up_local_name(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        if host:
            _require_local(host)
        return look_up(host, *args, **kwargs)

    return look_up_local_name


# No audit hook: while one of Python's runs for a thread that coverage begins to trace, no other thread can start.
for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, _locally(getattr(socket.socket, name)))
socket.getaddrinfo = _of_local_names(socket.getaddrinfo)

# httpx reads all public certificates for each client, which takes 27 ms. No test needs them twice.
_default_transport = sys.modules["httpx._transports.default"]
_public_certificates = functools.cache(httpx.create_ssl_context)


def _ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is True and cert is None and not os.environ.keys() & {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
        return _public_certificates()
    return httpx.create_ssl_context(verify, cert, trust_env)


setattr(_default_transport, "create_ssl_context", _ssl_context)  # noqa: B010 - a module's attribute, of no known type

# httpx waits 5 s for an answer unless a call says otherwise. A busy machine may need longer.
for name in ("connect", "read", "write", "pool"):
    setattr(sys.modules["httpx._config"].DEFAULT_TIMEOUT_CONFIG, name, 60.0)


ON_REQUEST = ("clients", "slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests with a marker of `ON_REQUEST` unless `-m` names it."""
    left_out = {name for name in ON_REQUEST if name not in config.option.markexpr}
    kept: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    for item in items:
        (deselected if any(item.get_closest_marker(name) for name in left_out) else kept).append(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the programs that a test needs before its fixtures start them."""
    for mark in item.iter_markers("needs_program"):
        require_program(*mark.args)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run asynchronous tests as the service runs: on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[RedisServer]":
    """Run one Redis for all tests of a process: each uses its own prefix of keys."""
    from redis_server import running_redis

    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[ObjectStore]":
    """Run one S3 server for all tests of a process: each uses its own prefix."""
    from s3_server import running_s3

    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def base_model_dir(request: pytest.FixtureRequest) -> Path:
    """Give the folder of Whisper base, joined from the packages of the extra base-model; made once and kept."""
    if packaged_parts() is None:
        report_missing("The extra base-model is not installed; `make test` installs it.")
    settings = Settings(model_dir=request.config.cache.mkdir("models"), offline=True)
    return ensure_model(settings, MODELS["base"])
