"""Clients that send one request per connection and record its outcome."""

import contextlib
import itertools
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

GOOD = "200"
DISCONNECTED = "client disconnected"
BROKEN_OFF = "stream broken off"
CLOSED = "closed without a response"

_TIMEOUT_S = 150.0
_PAUSE_AFTER_ERROR_S = 0.2
"""Keeps a refused client from sending requests as fast as it can."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final outcome of a request. Times are seconds of the wall clock."""

    request_id: str
    kind: str
    """`200`, the status and the error code, or one of the constants above."""
    sent_s: float
    ended_s: float
    retry_after: bool = False
    """Whether the response had a Retry-After header."""

    @property
    def duration_s(self) -> float:
        return self.ended_s - self.sent_s


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends requests to one server over TLS."""

    url: str
    trust: ssl.SSLContext

    def post(self, path: Path, request_id: str | None = None, endpoint: str = "/transcribe", **form: str) -> Outcome:
        """Send the file and wait for the response."""
        request_id = request_id or new_request_id("own")
        sent_s = time.time()
        try:
            with path.open("rb") as file, self._client(_TIMEOUT_S) as client:
                answer = client.post(
                    self.url + endpoint, files={"file": file}, data=form, headers={"x-request-id": request_id}
                )
            kind, retry_after = kind_of(answer), "retry-after" in answer.headers
        except httpx.TransportError as error:
            kind, retry_after = f"no response: {type(error).__name__}", False
        return Outcome(request_id, kind, sent_s, time.time(), retry_after)

    def stream(self, path: Path, on_line: Callable[[], None] = lambda: None) -> Outcome:
        """Send the file and read its segments as they arrive. Calls `on_line` for each line."""
        request_id, sent_s = new_request_id("stream"), time.time()
        data, headers = {"response_format": "ndjson"}, {"x-request-id": request_id}
        try:
            with path.open("rb") as file, self._client(_TIMEOUT_S) as client:
                request = client.stream(
                    "POST", f"{self.url}/transcribe", files={"file": file}, data=data, headers=headers
                )
                with request as answer:
                    if not answer.is_success:
                        answer.read()
                        return Outcome(request_id, kind_of(answer), sent_s, time.time())
                    last = ""
                    for line in answer.iter_lines():
                        last = line
                        on_line()
            kind = GOOD if "duration" in json.loads(last) else BROKEN_OFF
        except httpx.TransportError:
            kind = BROKEN_OFF
        return Outcome(request_id, kind, sent_s, time.time())

    def disconnect(self, path: Path, when: Callable[[], object], **form: str) -> Outcome:
        """Send the file, wait for `when` to return, and close the connection."""
        request_id, sent_s = new_request_id("disconnected"), time.time()
        with contextlib.closing(self._connect()) as client:
            client.sendall(_request(request_id, path.read_bytes(), form))
            when()
        return Outcome(request_id, DISCONNECTED, sent_s, time.time())

    def send_slowly(self, path: Path, n_parts: int, every_s: float, stop_after: int | None = None) -> Outcome:
        """Send the file in `n_parts` parts. With `stop_after`, stop after that many parts and wait for a response."""
        request_id, sent_s = new_request_id("slow"), time.time()
        data = _request(request_id, path.read_bytes(), {})
        size = -(-len(data) // n_parts)
        with contextlib.closing(self._connect()) as client:
            with contextlib.suppress(OSError):  # the server has closed the connection
                for part in range(n_parts)[:stop_after]:
                    client.sendall(data[part * size : (part + 1) * size])
                    time.sleep(every_s)
            status = _read_status(client)
        return Outcome(request_id, status or CLOSED, sent_s, time.time())

    def _client(self, timeout_s: float) -> httpx.Client:
        return httpx.Client(verify=self.trust, timeout=timeout_s)

    def _connect(self) -> ssl.SSLSocket:
        where = urlsplit(self.url)
        plain = socket.create_connection((where.hostname, where.port), timeout=_TIMEOUT_S)
        return self.trust.wrap_socket(plain, server_hostname=where.hostname)


def kind_of(answer: httpx.Response) -> str:
    """Return the kind of a response: `200` only if it has a transcript with text."""
    try:
        body = answer.json()
    except ValueError:
        return f"{answer.status_code} without JSON"
    if answer.is_success:
        return GOOD if body.get("text") else "200 without text"
    return f"{answer.status_code} {body['error']['code']}"


def new_request_id(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


class Load:
    """Clients in threads that send one request after the other while the load is not paused."""

    def __init__(self, post: Callable[[str], Outcome], n_clients: int) -> None:
        """Create the clients. `post` sends one request with the given id and returns its outcome."""
        self._post = post
        self._may_send, self._ended = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in range(n_clients)]
        self._n_sent = 0
        self.think_time_s = 0.0
        """Pause of a client between a response and its next request."""
        self.outcomes: list[Outcome] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._may_send.set()
        for thread in self._threads:
            thread.join()

    @property
    def n_sent(self) -> int:
        return self._n_sent

    def resume(self) -> None:
        self._may_send.set()

    def pause(self, within_s: float = 120.0) -> None:
        """Stop sending and wait until every request has an outcome.

        Raises TimeoutError: when that takes longer than `within_s`.
        """
        self._may_send.clear()
        deadline = time.monotonic() + within_s
        while len(self.outcomes) < self._n_sent:
            if time.monotonic() > deadline:
                open_requests = self._n_sent - len(self.outcomes)
                raise TimeoutError(f"{open_requests} requests had no response within {within_s:g} s.")
            time.sleep(0.02)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the load for the duration of the block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def _run(self, client: int) -> None:
        for n in itertools.count():
            if not self._begin():
                return
            outcome = self._post(f"load-{client}-{n}-{uuid.uuid4().hex[:8]}")
            self.outcomes.append(outcome)
            self._ended.wait(self.think_time_s if outcome.kind == GOOD else _PAUSE_AFTER_ERROR_S)

    def _begin(self) -> bool:
        while True:
            self._may_send.wait()
            with self._lock:
                if self._ended.is_set():
                    return False
                if self._may_send.is_set():
                    self._n_sent += 1
                    return True


def _request(request_id: str, content: bytes, form: dict[str, str]) -> bytes:
    fields = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in form.items()
    ]
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content + b"\r\n"
    body = b"".join([*fields, file, b"--x--\r\n"])
    head = (
        f"POST /transcribe HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {request_id}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _read_status(client: ssl.SSLSocket) -> str:
    """Read until the connection ends and return the response's status. Empty without a response."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except OSError:
        pass
    return received.split(b" ")[1].decode() if received.startswith(b"HTTP/1.1 ") else ""
