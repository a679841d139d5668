"""A real Nginx with the configuration that `asr-service render nginx` writes."""

import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from asr_service.deployment import NginxOptions, nginx_files
from asr_service.settings import Settings
from programs import find_program
from waiting import until

NGINX = find_program("nginx")
needs_nginx = pytest.mark.needs_program("nginx")

# What Debian's own nginx.conf has around it, among it what the file must overrule.
_MAIN = """
{modules}
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log info;
worker_processes 4;
events {{ worker_connections 768; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    default_type application/octet-stream;
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    gzip on;
    include {folder}/asr-service.conf;
}}
"""


class Certificate:
    """A certificate for localhost, signed by its own authority."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        self.chain, self.key, self.authority = folder / "chain.pem", folder / "key.pem", folder / "ca.pem"
        issued.private_key_pem.write_to_path(self.key)
        self.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        authority.cert_pem.write_to_path(self.authority)
        self.trust = ssl.create_default_context(cafile=str(self.authority))


class Nginx:
    """One Nginx on its own ports. `change` edits the rendered file; `modules` are loaded."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        certificate: Certificate,
        change: Callable[[str], str] = lambda text: text,
        modules: Sequence[Path] = (),
        **options: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.certificate = certificate
        self.http_port, self.https_port = free_port(), free_port()
        self.private_port = free_port()
        if options.pop("private", False):
            options["private_listen"] = f"127.0.0.1:{self.private_port}"
        known: dict[str, Any] = {
            "server_name": "localhost",
            "certificate": certificate.chain,
            "certificate_key": certificate.key,
            "http_port": self.http_port,
            "https_port": self.https_port,
            "ipv6": False,
            "version": installed_version(),
            "requests_per_s": 1000,
            "connections": 1000,
            "access_log": folder / "access.log",
            "error_log": folder / "asr-service.error.log",
            "hsts": True,
        }
        (file,) = nginx_files(settings, NginxOptions(**(known | options)))
        (folder / file.name).write_text(change(file.text))
        user = "" if os.geteuid() else "user root;"  # nobody could not read a test's directory
        loaded = "\n".join(f"load_module {module};" for module in modules)
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user, modules=loaded))
        self.url = f"https://localhost:{self.https_port}"

    @property
    def command(self) -> list[str]:
        assert NGINX
        return [
            NGINX,
            "-p",
            str(self.folder),
            "-e",
            str(self.folder / "error.log"),
            "-c",
            str(self.folder / "nginx.conf"),
        ]

    def check(self) -> str:
        """Return the output of `nginx -t`, including warnings."""
        return subprocess.run([*self.command, "-t"], capture_output=True, text=True, timeout=60, check=False).stderr

    def post(self, path: str = "/speech", body: bytes = b"speech", **given: Any) -> httpx.Response:
        """Return a client that opens a connection for each request."""
        return self.request("POST", path, content=body, **given)

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.request("GET", path, **given)

    def request(self, method: str, path: str, *, come_from: str = "127.0.0.1", **given: Any) -> httpx.Response:
        transport = httpx.HTTPTransport(verify=self.certificate.trust, local_address=come_from)
        with httpx.Client(transport=transport, timeout=60) as client:
            return client.request(method, self.url + path, **given)

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.https_port), timeout=60)
        return self.certificate.trust.wrap_socket(plain, server_hostname="localhost")

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]

    def logged(self, request_id: str) -> dict[str, Any]:
        """Wait for the log line of one request, which Nginx writes after the answer."""
        return until(
            lambda: next((line for line in self.log() if line["request_id"] == request_id), None),
            what="a line in the log",
        )


@contextmanager
def proxying(*args: Any, **options: Any) -> Iterator[Nginx]:
    nginx = Nginx(*args, **options)
    with (nginx.folder / "output").open("wb") as output:
        process = subprocess.Popen(nginx.command, stdout=output, stderr=output)
    try:
        until(lambda: process.poll() is not None or _listens(nginx), what="Nginx")
        assert process.poll() is None, (nginx.folder / "output").read_text()
        yield nginx
    finally:
        process.terminate()
        process.wait(20)


def _listens(nginx: Nginx) -> bool:
    return any(_answers(port) for port in (nginx.https_port, nginx.private_port))


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def installed_version() -> str:
    told = subprocess.run([NGINX or "", "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/([\d.]+)", told)
    assert found, told
    return found[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
