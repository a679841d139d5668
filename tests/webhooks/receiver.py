"""A receiver of webhooks on this machine."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from http_servers import Handler, serving_http


@dataclass
class Receiver:
    """What arrived, and what is answered."""

    url: str = ""
    status: int = 204
    location: str | None = None
    delay: threading.Event | None = None
    """Answers wait for it."""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver on 127.0.0.1, with TLS if there is a context."""
    receiver = Receiver()

    class Recorder(Handler):
        def do_POST(self) -> None:
            receiver.bodies.append(self.body())
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            if receiver.delay is not None:
                receiver.delay.wait(10)
            self.answer(receiver.status, headers={} if receiver.location is None else {"location": receiver.location})

    with serving_http(Recorder, context) as receiver.url:
        yield receiver
