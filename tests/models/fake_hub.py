"""A model hub on this machine: the requests that huggingface_hub makes for a file, and the faults that a line has."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """`files` by name, for every repository. Each fault is used up by one GET of model.bin."""

    files: dict[str, bytes]
    commit: str = COMMIT
    cut_after: list[int] = field(default_factory=list)
    """Bytes of the answer after which the line breaks."""
    spoil: list[bool] = field(default_factory=list)
    """Send a byte that is not the file's."""
    answers: list[int] = field(default_factory=list)
    """Statuses to answer with in place of the file, for any file and method."""
    wait_for_company_s: float = 0.0
    """How long the first GET of model.bin waits for a second, before it is answered."""
    url: str = ""
    gets: list[tuple[str, str | None]] = field(default_factory=list)
    """File and Range of every GET."""
    company: threading.Event = field(default_factory=threading.Event)

    def etag(self, name: str) -> str:
        """The sha256 of a large file, git's sum of a small one, as the hub has it."""
        content = self.files[name]
        if name == "model.bin":
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *args: Any) -> None:
        """Tests have no use for an access log."""

    def _answer(self, *, with_body: bool) -> None:
        name = self.path.rsplit("/", 1)[-1]
        known = name in self.hub.files and "/resolve/" in self.path
        if self.hub.answers or not known:
            self._refuse(self.hub.answers.pop(0) if self.hub.answers else 404)
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = self.hub.files[name][start:]
        if with_body:
            self.hub.gets.append((name, wanted))
            body = self._at_fault(name, body)
        self.send_response(206 if wanted else 200)
        self._file_headers(name, len(self.hub.files[name]) - start)
        if with_body:
            self.wfile.write(body)
            if len(body) < len(self.hub.files[name]) - start:
                self.close_connection = True

    def _at_fault(self, name: str, body: bytes) -> bytes:
        if name == "model.bin" and self.hub.wait_for_company_s:
            if [got for got, _ in self.hub.gets].count(name) > 1:
                self.hub.company.set()
            self.hub.company.wait(self.hub.wait_for_company_s)
        if name == "model.bin" and self.hub.spoil and self.hub.spoil.pop(0):
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

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
