"""The services that the page is shown on."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx

DATA: Final = Path(__file__).parents[2] / "tests" / "data"
INSECURE: Final = "insecure.test"
"""A name of this machine that a browser does not trust as it trusts localhost."""
KEY: Final = "picture-key-of-a-test-0123456789"
MAX_UPLOAD_BYTES: Final = 4_000_000
_START_S: Final = 180


@dataclass(frozen=True, slots=True)
class Services:
    """The addresses of two services."""

    open: str
    """With jobs, for everybody."""
    strict: str
    """Without jobs, with keys, small uploads and one request at a time."""

    @property
    def insecure(self) -> str:
        """Return the address of the open service by plain HTTP, as another machine would reach it."""
        return self.open.replace("127.0.0.1", INSECURE)


@contextmanager
def running_services() -> Iterator[Services]:
    """Run both services until the context ends."""
    with (
        tempfile.TemporaryDirectory() as state,
        _running({"ASR_STATE_DIR": state}) as opened,
        _running(
            {
                "ASR_API_KEYS": f"pictures:sha256:{sha256(KEY.encode()).hexdigest()}",
                "ASR_MAX_OPEN_REQUESTS": "1",
                "ASR_MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
            }
        ) as strict,
    ):
        yield Services(opened, strict)


@contextmanager
def _running(settings: dict[str, str]) -> Iterator[str]:
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")}
    environment |= {"ASR_MODEL": "base", "ASR_PORT": str(port), "ASR_LOG_LEVEL": "warning"} | settings
    process = subprocess.Popen([Path(sys.executable).parent / "asr-service", "serve"], env=environment)  # noqa: S603
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{address} is not ready after {_START_S} s.")
