"""A real mtail that counts the requests in an access log of Nginx."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.monitoring import ROOT
from nginx.proxy import free_port
from waiting import until

PROGRAMS = ROOT / "deploy/mtail"


@contextmanager
def counting(log: Path, folder: Path) -> Iterator[str]:
    """Run mtail on the log, which need not exist, and yield the address of its metrics."""
    folder.mkdir()
    port = free_port()
    command = ["mtail", "--progs", str(PROGRAMS), "--logs", str(log), "--log_dir", str(folder)]
    process = subprocess.Popen([*command, "--address", "127.0.0.1", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(port) or process.poll() is not None, what="mtail")
        assert process.poll() is None
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
    except httpx.TransportError:
        return False
