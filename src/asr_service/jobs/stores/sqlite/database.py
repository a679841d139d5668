"""The connection to the SQLite file, and its transactions."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from asr_service.errors import ConfigurationError, Unavailable
from asr_service.jobs.stores.sqlite.schema import migrate

log = structlog.get_logger(__name__)

_BUSY_TIMEOUT_S: Final = 10.0


class Database:
    """One connection, used by one thread at a time.

    `synchronous=FULL` in WAL mode: a transaction that has returned survives the loss of power.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises ConfigurationError: it cannot be used, or is of a newer version."""
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._connection.row_factory = sqlite3.Row
                for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                    self._connection.execute(f"PRAGMA {pragma}")
                migrate(self._connection, str(path))
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{path} cannot be used: {error}. Set ASR_STATE_DIR to a directory on a local disk.",
                param="ASR_STATE_DIR",
            ) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise _unavailable(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise _unavailable(error) from error


def _unavailable(error: sqlite3.Error) -> Unavailable:
    log.error("the jobs' records cannot be used", error=repr(error))
    return Unavailable("The service cannot store or read jobs at the moment. Try again later.")
