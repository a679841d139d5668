"""A receiver of webhooks that checks their signatures with OpenAI's SDK."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from openai import InvalidWebhookSignatureError, OpenAI


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that has arrived."""

    at_s: float
    """Seconds of the wall clock."""
    webhook_id: str
    is_signed: bool
    """Whether the unmodified SDK of OpenAI accepts the signature."""
    event: dict[str, Any]
    status: int
    """The status of the answer."""

    @property
    def job_id(self) -> str:
        return str(self.event["data"]["id"])


@dataclass
class Receiver:
    """What has arrived, and how the next request is answered."""

    secret: str
    port: int = 0
    status: int = 204
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def receive(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            OpenAI(api_key="none").webhooks.verify_signature(body.decode(), headers, secret=self.secret)
            is_signed = True
        except InvalidWebhookSignatureError:
            is_signed = False
        arrival = Arrival(time.time(), headers.get("webhook-id", ""), is_signed, json.loads(body), self.status)
        self.arrivals.append(arrival)
        return arrival.status


@contextmanager
def receiving(secret: str) -> Iterator[Receiver]:
    """Run a receiver on 127.0.0.1 for the duration of the block."""
    receiver = Receiver(secret)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.receive(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the standard library
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
