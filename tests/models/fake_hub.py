"""A model hub on this machine. It answers the requests of huggingface_hub, and can simulate faults."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from http_servers import Handler, serving_http

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Serves `files` by name in every repository. Each fault applies to one GET of model.bin."""

    files: dict[str, bytes]
    commit: str = COMMIT
    cut_after: list[int] = field(default_factory=list)
    """Bytes of the response after which the connection breaks."""
    corrupt: list[bool] = field(default_factory=list)
    """Whether to change a byte of the file."""
    answers: list[int] = field(default_factory=list)
    """Status codes to answer instead of the file, for any file and method."""
    wait_for_second_get_s: float = 0.0
    """How long the first GET of model.bin waits for a second one before the response."""
    url: str = ""
    gets: list[tuple[str, str | None]] = field(default_factory=list)
    """File name and Range of every GET."""
    second_get: threading.Event = field(default_factory=threading.Event)

    def etag(self, name: str) -> str:
        """Return the sha256 of a large file, or git's sum of a small one, as the hub does."""
        content = self.files[name]
        if name == "model.bin":
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        with serving_http(type("Handler", (_Handler,), {"hub": self})) as self.url:
            yield self


class _Handler(Handler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def do_GET(self) -> None:
        self._send(with_body=True)

    def _send(self, *, with_body: bool) -> None:
        name = self.path.rsplit("/", 1)[-1]
        known = name in self.hub.files and "/resolve/" in self.path
        if self.hub.answers or not known:
            self.answer(self.hub.answers.pop(0) if self.hub.answers else 404)
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = self.hub.files[name][start:]
        if with_body:
            self.hub.gets.append((name, wanted))
            body = self._with_faults(name, body)
        self.send_response(206 if wanted else 200)
        self._file_headers(name, len(self.hub.files[name]) - start)
        if with_body:
            self.wfile.write(body)
            if len(body) < len(self.hub.files[name]) - start:
                self.close_connection = True

    def _with_faults(self, name: str, body: bytes) -> bytes:
        if name == "model.bin" and self.hub.wait_for_second_get_s:
            if [got for got, _ in self.hub.gets].count(name) > 1:
                self.hub.second_get.set()
            self.hub.second_get.wait(self.hub.wait_for_second_get_s)
        if name == "model.bin" and self.hub.corrupt and self.hub.corrupt.pop(0):
            body = bytes([body[0] ^ 1]) + body[1:]
        if name == "model.bin" and self.hub.cut_after:
            body = body[: self.hub.cut_after.pop(0)]
        return body

    def _file_headers(self, name: str, length: int) -> None:
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{self.hub.etag(name)}"')
        if name == "model.bin":
            self.send_header("X-Linked-Etag", f'"{self.hub.etag(name)}"')
            self.send_header("X-Linked-Size", str(len(self.hub.files[name])))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        self.end_headers()
