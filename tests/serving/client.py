"""An HTTP client that tells a failed connect from a failure after it, over TCP and unix sockets."""

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class CannotConnect(Exception):
    """Nothing was sent: a proxy may ask another slot."""


class Lost(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def ask(address: str, path: str, timeout_s: float = 20) -> Answer:
    """`address` is a URL or the path of a unix socket. Each request has a connection of its own."""
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
