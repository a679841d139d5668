"""What every test stands on: the real base model, and no network but this machine's own."""

import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import structlog

from asr_service.engine.models import ensure_model
from asr_service.engine.models_packaged import packaged_parts
from asr_service.engine.models_registry import MODELS
from asr_service.settings import Settings

# Rich traces write out every variable, arrays too: seconds for each, on a busy machine too many.
_plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _plain])

# A developer's own settings are no part of the tests.
for name in [name for name in os.environ if name.startswith("ASR_")]:
    del os.environ[name]


def _refuse_the_network(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple):
        _require_local(args[1][0])
    elif event == "socket.getaddrinfo" and args[0]:
        _require_local(args[0])


def _require_local(host: str | bytes) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name == "localhost":
        return
    try:
        local = ip_address(name).is_loopback or ip_address(name).is_unspecified
    except ValueError:
        local = False
    if not local:
        raise RuntimeError(f"a test reached for the network: {name}")


sys.addaudithook(_refuse_the_network)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run asynchronous tests as the service runs: on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def base_model_dir(request: pytest.FixtureRequest) -> Path:
    """Give the folder of Whisper base, joined from the packages of the extra base-model; made once and kept."""
    if packaged_parts() is None:
        pytest.skip("needs the extra base-model, which `make test` installs")
    settings = Settings(_env_file=None, model_dir=request.config.cache.mkdir("models"), offline=True)
    return ensure_model(settings, MODELS["base"])
