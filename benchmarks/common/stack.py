"""Run the whole deployed service: Nginx with the rendered configuration, in front of Gunicorn with two CPU slots.

It uses free ports and a folder of its own.
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
import psutil
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


def require_nginx() -> None:
    """Exit with a message if Nginx is not installed."""
    if NGINX is None:
        sys.exit("Nginx is not installed. Install it, for example with: apt-get install nginx-light")


def until(
    look: Callable[[], T | None], within_s: float = 60.0, what: str = "The awaited event", every_s: float = 0.02
) -> T:
    """Call `look` until it returns a true value, and return that value.

    Raises TimeoutError: when it has returned none within `within_s`. `what` names the awaited thing in the message.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(every_s)
    raise TimeoutError(f"{what} did not happen within {within_s:g} s.")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the service's log."""

    at_s: float
    """Seconds of the wall clock."""
    event: str
    fields: Mapping[str, Any]


class JsonLines:
    """Reads a growing log of JSON lines. Each reading starts where the previous one ended."""

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
    """The service and Nginx. Use `running` to create and start it.

    `folder` holds everything: the model, sockets, spooled uploads and logs.
    """

    def __init__(self, model: Path, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.model = folder / "model"
        self.model.mkdir()
        for file in model.iterdir():  # links, so that a fault can remove the model
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

    def stop(self) -> None:
        for name in ("nginx", "service"):
            process = getattr(self, name, None)
            if process is not None:
                stop(process)

    def worker(self, slot: int) -> int:
        """Return the pid of the slot's latest worker."""
        return int(self.lines("loading", slot)[-1].fields["pid"])

    # -- observation

    def lines(self, event: str, slot: int | None = None, since_s: float = 0.0) -> list[Line]:
        """Return the log lines of an event, of all slots or one, from the wall-clock time `since_s` on."""
        found = [row for row in self._log.rows() if row.get("event") == event]
        lines = [Line(datetime.fromisoformat(row["timestamp"]).timestamp(), event, row) for row in found]
        return [line for line in lines if slot in (None, line.fields.get("slot")) and line.at_s >= since_s]

    def nginx_log(self) -> dict[str, list[dict[str, Any]]]:
        """Return the lines of Nginx's access log by request id. There is one line for each response."""
        by_request: dict[str, list[dict[str, Any]]] = {}
        for row in self._access.rows():
            by_request.setdefault(row["request_id"], []).append(row)
        return by_request

    def get(self, path: str) -> httpx.Response:
        """Send a GET request through Nginx from this machine."""
        with httpx.Client(verify=self.trust, timeout=20) as client:
            return client.get(self.url + path)

    def is_ready(self, slot: int) -> bool:
        """Return True if Nginx reaches the slot and the slot is ready."""
        try:
            return self.get(f"/health/slots/{slot}").is_success
        except httpx.TransportError:
            return False

    def wait_until_ready(self, within_s: float = 120.0) -> None:
        """Wait until both slots are ready.

        Raises TimeoutError: when they are not within `within_s`. RuntimeError: when the service has exited.
        """
        try:
            until(
                lambda: self._is_running() and all(map(self.is_ready, SLOTS)),
                within_s,
                "Readiness of both slots",
                every_s=0.1,
            )
        except TimeoutError as error:
            raise TimeoutError(f"{error} The service's log ends with:\n{self._log_end()}") from error

    def became_ready_s(self, slot: int, since_s: float, within_s: float = 90.0) -> float:
        """Wait until the slot is ready again after `since_s`, and return when it was.

        Raises TimeoutError: when it is not ready within `within_s`.
        """
        return until(lambda: self.lines("ready", slot, since_s), within_s, f"Readiness of slot {slot}")[0].at_s

    def _is_running(self) -> bool:
        if self.service.poll() is not None:
            raise RuntimeError(f"The service has exited. Its log ends with:\n{self._log_end()}")
        return True

    def _log_end(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")[-2000:]

    # -- starting

    def _start_service(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "service.log").open("ab") as log:
            return subprocess.Popen([_program(), "serve"], env=self._environ, stderr=log, start_new_session=True)

    def _start_nginx(self) -> "subprocess.Popen[bytes]":
        user = "" if os.geteuid() else "user root;"  # Nginx's default user cannot read the folder
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
        option_words = [str(word) for option in options.items() for word in option]
        render = [_program(), "render", "nginx", "--no-ipv6", *option_words]
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
    """Start the service and Nginx, wait until both slots are ready, and stop them at the end.

    For root, the folders for spooled uploads are small file systems of their own.
    """
    stack = Stack(model, folder, settings or {})
    with ExitStack() as held:
        if not os.geteuid():
            for directory in (stack.spool, stack.bodies):
                held.enter_context(_small_disk(directory))
        held.callback(stack.stop)
        stack.start()
        stack.wait_until_ready()
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


def decoder_server(worker: int) -> int:
    """Return the pid of a worker's decoder fork server. Raises IndexError: when it has none."""
    return psutil.Process(worker).children()[0].pid
