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

_BUSY_TIMEOUT_S: Final = 5.0
"""How long a change waits for another process, and as long for other threads of this one."""


class Database:
    """Two connections to one file, each used by one thread at a time.

    The connection for reading does not wait while another process holds up a change. `synchronous=FULL` in WAL mode: a
    transaction that has returned survives the loss of power.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises ConfigurationError: it cannot be used, or is of a newer version."""
        self._writer_lock, self._reader_lock = threading.Lock(), threading.Lock()
        self._is_down = False
        with contextlib.ExitStack() as on_failure:
            try:
                self._writer = on_failure.enter_context(contextlib.closing(_connect(path)))
                migrate(self._writer, str(path))
                self._reader = on_failure.enter_context(contextlib.closing(_connect(path)))
            except sqlite3.Error as error:
                raise ConfigurationError(
                    f"{path} cannot be used: {error}. Set ASR_STATE_DIR to a directory on a local disk.",
                    param="ASR_STATE_DIR",
                ) from error
            on_failure.pop_all()

    def close(self) -> None:
        with self._writer_lock, self._reader_lock:
            self._writer.close()
            self._reader.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._reader_lock:
            try:
                yield self._reader
            except sqlite3.Error as error:
                raise self._unavailable(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if not self._writer_lock.acquire(timeout=_BUSY_TIMEOUT_S):
            raise self._unavailable(TimeoutError("another change takes too long"))
        try:
            n_changes = self._writer.total_changes
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            if self._is_down and self._writer.total_changes > n_changes:  # without a change, nothing was written
                self._is_down = False
                log.info("the jobs' records can be changed again")
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        finally:
            self._writer_lock.release()

    def _unavailable(self, error: Exception) -> Unavailable:
        """Return the error for a caller. The begin of an outage is logged, and not each of its errors."""
        if not self._is_down:
            log.error("the jobs' records cannot be used", error=repr(error))
        self._is_down = True
        return Unavailable("The service cannot store or read jobs at the moment. Try again later.")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda data: data.decode("utf-8", "replace")  # damaged text is damage of one record
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection
