"""A real S3 server for tests."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common.object_store import ObjectStore


@contextlib.contextmanager
def running_s3(directory: Path) -> Iterator[ObjectStore]:
    """Run a server with one bucket for a block of code."""
    server = ObjectStore(directory)
    try:
        server.start()
        yield server
    finally:
        server.program.kill()  # it is slow to stop otherwise
