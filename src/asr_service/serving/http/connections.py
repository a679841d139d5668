"""Limits how many connections a slot has open, so that files, sockets and decoders find free descriptors."""

import os
import time
from typing import Final, Protocol

import structlog

_LOG_EVERY_S: Final = 60.0
_MAX_REFUSING: Final = 32
"""Connections beyond the limit that may be open at a time, while each gets its refusal."""

log = structlog.get_logger(__name__)


class Connection(Protocol):
    def drop(self) -> None:
        """Close the connection without an answer."""

    def refuse(self) -> None:
        """Answer that there are too many connections, and close."""


class Connections:
    """The open connections of a slot.

    At the limit, a new connection replaces the one that has waited longest for its client: idle, or without a whole
    request. If no connection waits, the new one is refused.
    """

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._n_open = 0
        self._waiting: dict[Connection, None] = {}
        """In the order in which they began to wait."""
        self._logged_at: dict[str, float] = {}

    def open(self, connection: Connection) -> None:
        """Count a new connection. It, or another one, is closed if there are too many."""
        self._n_open += 1
        if self._n_open <= self._max_connections:
            return
        self._log("connections at their limit: the longest idle ones are closed, and others are refused")
        longest = next(iter(self._waiting), None)
        if longest is not None and longest is not connection:
            self.set_waiting(longest, is_waiting=False)
            longest.drop()
        elif self._n_open > self._max_connections + _MAX_REFUSING:
            connection.drop()
        else:
            connection.refuse()

    def close(self, connection: Connection) -> None:
        """Count a connection no longer: it was closed."""
        self._n_open -= 1
        self.set_waiting(connection, is_waiting=False)

    def set_waiting(self, connection: Connection, *, is_waiting: bool) -> None:
        """Note whether the connection waits for its client from now on, with no answer due."""
        self._waiting.pop(connection, None)
        if is_waiting:
            self._waiting[connection] = None

    def check_descriptors(self) -> None:
        """Log if the process has no free descriptor. libuv then closes each new connection, and reports nothing."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            self._log("no free file descriptors: new connections are closed", error=repr(error))

    def _log(self, event: str, **values: object) -> None:
        now = time.monotonic()
        if now - self._logged_at.get(event, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._logged_at[event] = now
            log.warning(event, open=self._n_open, limit=self._max_connections, **values)
