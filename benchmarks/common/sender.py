"""Clients that each send one request over a connection of its own, and say what became of it."""

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
LEFT = "the client left"
BROKEN_OFF = "broken off"
CLOSED = "closed without an answer"

_TIMEOUT_S = 150.0
_REFUSED_S = 0.2
"""A client that was refused waits so long, where a closed loop would do nothing but ask."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one final answer of a request. Times are the wall clock's, in seconds."""

    request_id: str
    kind: str
    """`200`, or the status and the error's code, or what else happened."""
    sent_s: float
    ended_s: float
    retry_after: bool = False
    """Whether it was said when to come again."""

    @property
    def lasted_s(self) -> float:
        return self.ended_s - self.sent_s


@dataclass(frozen=True, slots=True)
class Sender:
    url: str
    trust: ssl.SSLContext

    def post(self, path: Path, request_id: str | None = None, endpoint: str = "/transcribe", **form: str) -> Outcome:
        """Send the file and wait for the answer."""
        request_id = request_id or named("own")
        sent_s = time.time()
        try:
            with path.open("rb") as file, self._client(_TIMEOUT_S) as client:
                answer = client.post(
                    self.url + endpoint, files={"file": file}, data=form, headers={"x-request-id": request_id}
                )
            kind, retry_after = kind_of(answer), "retry-after" in answer.headers
        except httpx.TransportError as error:
            kind, retry_after = f"no answer: {type(error).__name__}", False
        return Outcome(request_id, kind, sent_s, time.time(), retry_after)

    def stream(self, path: Path, on_line: Callable[[], None] = lambda: None) -> Outcome:
        """Send the file and read its segments as they come; `on_line` is called with each."""
        request_id, sent_s = named("stream"), time.time()
        data, headers = {"response_format": "ndjson"}, {"x-request-id": request_id}
        try:
            with path.open("rb") as file, self._client(_TIMEOUT_S) as client:
                asked = client.stream(
                    "POST", f"{self.url}/transcribe", files={"file": file}, data=data, headers=headers
                )
                with asked as answer:
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

    def leave(self, path: Path, when: Callable[[], object], **form: str) -> Outcome:
        """Send the file, wait for `when` to return, and close the connection."""
        request_id, sent_s = named("gone"), time.time()
        with contextlib.closing(self._connect()) as client:
            client.sendall(_request(request_id, path.read_bytes(), form))
            when()
        return Outcome(request_id, LEFT, sent_s, time.time())

    def drip(self, path: Path, n_parts: int, every_s: float, stop_after: int | None = None) -> Outcome:
        """Send the file in so many parts; where `stop_after` is given, send no more after so many and wait."""
        request_id, sent_s = named("slow"), time.time()
        data = _request(request_id, path.read_bytes(), {})
        size = -(-len(data) // n_parts)
        with contextlib.closing(self._connect()) as client:
            with contextlib.suppress(OSError):  # it was closed meanwhile
                for part in range(n_parts)[:stop_after]:
                    client.sendall(data[part * size : (part + 1) * size])
                    time.sleep(every_s)
            head = _first_line(client)
        return Outcome(request_id, head or CLOSED, sent_s, time.time())

    def _client(self, timeout_s: float) -> httpx.Client:
        return httpx.Client(verify=self.trust, timeout=timeout_s)

    def _connect(self) -> ssl.SSLSocket:
        where = urlsplit(self.url)
        plain = socket.create_connection((where.hostname, where.port), timeout=_TIMEOUT_S)
        return self.trust.wrap_socket(plain, server_hostname=where.hostname)


def kind_of(answer: httpx.Response) -> str:
    """`200` only where there is a transcript."""
    try:
        body = answer.json()
    except ValueError:
        return f"{answer.status_code} and no JSON"
    if answer.is_success:
        return GOOD if body.get("text") else "200 without text"
    return f"{answer.status_code} {body['error']['code']}"


def named(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


class Load:
    """Clients that send one request after the other, all the time that they are let."""

    def __init__(self, post: Callable[[str], Outcome], n_clients: int) -> None:
        """`post` is given a request's id."""
        self._post = post
        self._may_send, self._enough = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in range(n_clients)]
        self._n_sent = 0
        self.think_s = 0.0
        """Between an answer and a client's next request."""
        self.outcomes: list[Outcome] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._may_send.set()
        for thread in self._threads:
            thread.join()

    @property
    def n_sent(self) -> int:
        return self._n_sent

    def resume(self) -> None:
        self._may_send.set()

    def pause(self, within_s: float = 120.0) -> None:
        """Send nothing more, and wait until all that was sent is answered. Raises TimeoutError."""
        self._may_send.clear()
        deadline = time.monotonic() + within_s
        while len(self.outcomes) < self._n_sent:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._n_sent - len(self.outcomes)} requests got no answer within {within_s:g} s")
            time.sleep(0.02)

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Nothing is sent, and nothing is under way, within the block."""
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
            self._enough.wait(self.think_s if outcome.kind == GOOD else _REFUSED_S)

    def _begin(self) -> bool:
        while True:
            self._may_send.wait()
            with self._lock:
                if self._enough.is_set():
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


def _first_line(client: ssl.SSLSocket) -> str:
    """The status that is answered; empty where the connection ends without one."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except OSError:
        pass
    return received.split(b" ")[1].decode() if received.startswith(b"HTTP/1.1 ") else ""
