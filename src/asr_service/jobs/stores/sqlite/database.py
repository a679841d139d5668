"""The connection to the SQLite file, and its transactions."""

import contextlib
import os
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
_TEMPORARY: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM})
"""Primary result codes: the lowest byte of an error's code."""


class Database:
    """Two connections to one file, each used by one thread at a time.

    The connection for reading does not wait while another process holds up a change. `synchronous=FULL` in WAL mode: a
    transaction that has returned survives the loss of power.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. If it cannot be used at the moment, each operation tries to open it again.

        Raises ConfigurationError: it can never be used, or is of a newer version.
        """
        self._path = path
        self._writer_lock, self._reader_lock, self._opening = threading.Lock(), threading.Lock(), threading.Lock()
        self._is_open = False
        self._is_down = False
        if path.exists() and not os.access(path, os.W_OK):  # SQLite would open it, and refuse each change
            raise _unusable(path, "it cannot be written")
        try:
            self._open()
        except sqlite3.Error as error:
            if not _is_temporary(error):
                raise _unusable(path, str(error)) from error
            self._unavailable(error)

    def _open(self) -> None:
        """Open the file if it is not open."""
        with self._opening:
            if self._is_open:
                return
            with contextlib.ExitStack() as on_failure:
                self._writer = on_failure.enter_context(contextlib.closing(_connect(self._path)))
                migrate(self._writer, str(self._path))
                self._reader = on_failure.enter_context(contextlib.closing(_connect(self._path)))
                on_failure.pop_all()
            self._is_open = True

    def close(self) -> None:
        with self._writer_lock, self._reader_lock:
            if self._is_open:
                self._writer.close()
                self._reader.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._reader_lock:
            try:
                self._open()
                yield self._reader
            except sqlite3.Error as error:
                raise self._unavailable(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if not self._writer_lock.acquire(timeout=_BUSY_TIMEOUT_S):
            raise self._unavailable(TimeoutError("another change takes too long"))
        try:
            self._open()
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


def _unusable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} cannot be used: {reason}. Set ASR_STATE_DIR to a directory on a local disk.", param="ASR_STATE_DIR"
    )


def _is_temporary(error: sqlite3.Error) -> bool:
    """Return True if the file can be opened later: the disk is full, or another program holds up a change."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _TEMPORARY


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
