"""Connections to the service of a module."""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from serving.harness import Service

Connect = Callable[[], socket.socket]


@pytest.fixture(scope="module")
def connect(service: Service) -> Connect:
    address = urlsplit(service.url)
    return lambda: socket.create_connection((address.hostname, address.port), timeout=60)
