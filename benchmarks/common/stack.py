"""The whole service as it is deployed: Nginx with the file that `asr-service render nginx` writes, before Gunicorn's
master with two CPU slots. On ports and in a folder of its own.
"""

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import trustme

from benchmarks.common.servers import free_port, stop

T = TypeVar("T")
SLOTS = (0, 1)
SPOOL_BYTES = 400 * 1024**2

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

_NGINX_CONF = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log error;
worker_processes 2;
events {{ worker_connections 768; }}
http {{
    client_body_temp_path {folder}/bodies/spool;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    include {folder}/asr-service.conf;
}}
"""


def until(look: Callable[[], T | None], within_s: float = 60.0, what: str = "it", every_s: float = 0.02) -> T:
    """Wait for a true answer. Raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(every_s)
    raise TimeoutError(f"{what} did not come about within {within_s:g} s")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the service's log."""

    at_s: float
    """By the wall clock, as all times that are compared with it."""
    event: str
    fields: Mapping[str, Any]


class JsonLines:
    """A log of JSON lines that grows, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rows: list[dict[str, Any]] = []

    def rows(self) -> list[dict[str, Any]]:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._rows += [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return self._rows


class Stack:
    """Not started by itself: `running` does that. `folder` holds everything: model, sockets, spools, logs."""

    def __init__(self, model: Path, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.model = folder / "model"
        self.model.mkdir()
        for file in model.iterdir():  # links: the model can be taken away without harm to it
            (self.model / file.name).symlink_to(file.resolve())
        self.run_dir, self.spool, self.bodies = folder / "run", folder / "spool", folder / "bodies"
        for directory in (self.spool, self.bodies):
            directory.mkdir()
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.trust = self._certify()
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")} | {
            "ASR_MODEL": str(self.model),
            "ASR_DEVICES": "cpu,cpu",
            "ASR_SOCKET_DIR": str(self.run_dir),
            "ASR_LOG_FORMAT": "json",
            "TMPDIR": str(self.spool),
            **settings,
        }
        self._log, self._access = JsonLines(folder / "service.log"), JsonLines(folder / "access.log")

    # -- processes

    def start(self) -> None:
        self.service = self._start_service()
        self.nginx = self._start_nginx()

    def restart_service(self) -> None:
        """Start the service again after its master has ended."""
        self.service = self._start_service()

    def end(self) -> None:
        for name in ("nginx", "service"):
            process = getattr(self, name, None)
            if process is not None:
                stop(process)

    def worker(self, slot: int) -> int:
        """The pid of the slot's present worker, or of its last."""
        return int(self.lines("loading", slot)[-1].fields["pid"])

    # -- what is seen

    def lines(self, event: str, slot: int | None = None, since_s: float = 0.0) -> list[Line]:
        found = [row for row in self._log.rows() if row.get("event") == event]
        lines = [Line(datetime.fromisoformat(row["timestamp"]).timestamp(), event, row) for row in found]
        return [line for line in lines if slot in (None, line.fields.get("slot")) and line.at_s >= since_s]

    def passed_on(self) -> dict[str, list[dict[str, Any]]]:
        """Nginx' log by request: a line for each answer."""
        by_request: dict[str, list[dict[str, Any]]] = {}
        for row in self._access.rows():
            by_request.setdefault(row["request_id"], []).append(row)
        return by_request

    def get(self, path: str) -> httpx.Response:
        """Through Nginx, from the inside."""
        with httpx.Client(verify=self.trust, timeout=20) as client:
            return client.get(self.url + path)

    def answers(self, slot: int) -> bool:
        """Whether Nginx reaches the slot, and the slot is ready."""
        try:
            return self.get(f"/health/slots/{slot}").is_success
        except httpx.TransportError:
            return False

    def wait_until_answering(self, within_s: float = 120.0) -> None:
        """Raises TimeoutError. RuntimeError: the master has ended."""
        try:
            until(lambda: self._alive() and all(map(self.answers, SLOTS)), within_s, "both slots", every_s=0.1)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the service's log ends so:\n{self._last_words()}") from error

    def became_ready_s(self, slot: int, since_s: float, within_s: float = 90.0) -> float:
        """When the slot's next worker was ready. Raises TimeoutError."""
        return until(lambda: self.lines("ready", slot, since_s), within_s, f"slot {slot} ready again")[0].at_s

    def _alive(self) -> bool:
        if self.service.poll() is not None:
            raise RuntimeError(f"the service has ended:\n{self._last_words()}")
        return True

    def _last_words(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")[-2000:]

    # -- how it is started

    def _start_service(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "service.log").open("ab") as log:
            return subprocess.Popen([_program(), "serve"], env=self._environ, stderr=log, start_new_session=True)

    def _start_nginx(self) -> "subprocess.Popen[bytes]":
        user = "" if os.geteuid() else "user root;"  # else Nginx' workers are nobody, who may not read the folder
        (self.folder / "nginx.conf").write_text(_NGINX_CONF.format(folder=self.folder, user=user))
        options = {
            "--server-name": "localhost",
            "--certificate": self.folder / "chain.pem",
            "--certificate-key": self.folder / "key.pem",
            "--https-port": self.port,
            "--http-port": free_port(),
            "--requests-per-s": 1000,
            "--connections": 1000,
            "--access-log": self.folder / "access.log",
            "--output": self.folder,
        }
        words = [str(word) for option in options.items() for word in option]
        render = [_program(), "render", "nginx", "--no-ipv6", *words]
        subprocess.run(render, env=self._environ, check=True, stdout=subprocess.DEVNULL)
        command = [NGINX or "nginx", "-p", str(self.folder), "-e", str(self.folder / "nginx-error.log")]
        return subprocess.Popen([*command, "-c", str(self.folder / "nginx.conf")], start_new_session=True)

    def _certify(self) -> ssl.SSLContext:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(self.folder / "key.pem")
        (self.folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))


@contextmanager
def running(model: Path, folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Both slots ready; ended at the end. Root gets the spools on small file systems of their own."""
    stack = Stack(model, folder, settings or {})
    with ExitStack() as held:
        if not os.geteuid():
            for directory in (stack.spool, stack.bodies):
                held.enter_context(_small_disk(directory))
        held.callback(stack.end)
        stack.start()
        stack.wait_until_answering()
        yield stack


@contextmanager
def _small_disk(directory: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SPOOL_BYTES}", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _program() -> str:
    return str(Path(sys.executable).with_name("asr-service"))
