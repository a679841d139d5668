"""An HTTP client over TCP and unix sockets that distinguishes a failed connection from a failure after it."""

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class CannotConnect(Exception):
    """The connection failed, so nothing was sent, and a proxy can try another slot."""


class Lost(Exception):
    """The connection ended before the end of the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def ask(address: str, path: str, timeout_s: float = 60) -> Answer:
    """Send a GET request on a new connection. `address` is a URL or the path of a unix socket."""
    connection = http.client.HTTPConnection("slot", timeout=timeout_s)
    connection.sock = _connected(address, timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    except (OSError, http.client.HTTPException) as error:
        raise Lost(repr(error)) from error
    finally:
        connection.close()


def _connected(address: str, timeout_s: float) -> socket.socket:
    url = urlsplit(address)
    client = socket.socket(socket.AF_INET if url.port else socket.AF_UNIX)
    client.settimeout(timeout_s)
    try:
        client.connect((url.hostname, url.port) if url.port else address)
    except OSError as error:
        client.close()
        raise CannotConnect(repr(error)) from error
    return client
