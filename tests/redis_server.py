"""A real Redis for tests, on a Unix socket."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import redis

from programs import find_program, require_program
from waiting import until


class RedisServer:
    """A server that keeps its data in a directory, as a machine of an operator does: `noeviction`, append-only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self, *options: str) -> None:
        """Start the server, with the data that it had."""
        program = find_program("redis-server")
        assert program is not None
        defaults = ["--port", "0", "--unixsocket", str(self._socket), "--dir", str(self._directory), "--save", ""]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, *defaults, "--appendonly", "yes", *options], stdout=log, stderr=log
            )
        until(self._answers, what="Redis")

    def kill(self) -> None:
        """End the server as SIGKILL does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True, protocol=2)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False


@contextlib.contextmanager
def running_redis(directory: Path) -> Iterator[RedisServer]:
    """Run a server for a block of code. Skips the test if Redis is missing, and fails it in CI."""
    require_program("redis-server")
    directory.mkdir(exist_ok=True)
    server = RedisServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()
