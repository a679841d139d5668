"""A metrics file whose disk space is allocated before it is used."""

import os
from typing import Final

import structlog
from prometheus_client.mmap_dict import MmapedDict

_INITIAL_BYTES: Final = 128 * 1024
"""Enough for all endpoints, stages and status codes, and for twenty API keys."""

log = structlog.get_logger(__name__)


class AllocatedDict(MmapedDict):
    """prometheus_client's dict in a mapped file, without its holes.

    A write to a hole of a mapped file on a full disk ends the process with SIGBUS. So the file gets its space when it
    is opened and when it grows. If it cannot grow, the values of new keys are not stored, and no caller fails. They are
    stored when there is space again, because each value keeps its total in its process.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:  # as in MmapedDict
        """Open or create the file. Raises OSError: the disk has no space for it."""
        self._is_full = False
        if not read_mode:
            allocate(filename)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def read_value(self, key: str) -> tuple[float, float]:
        """Return value and time stamp; zeros for a new key that has no space."""
        if not self._has_space(key):
            return 0.0, 0.0
        value, timestamp = super().read_value(key)  # type: ignore[no-untyped-call]
        return value, timestamp

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Store a value, unless its key is new and has no space."""
        if self._has_space(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _has_space(self, key: str) -> bool:
        if key in self._positions:
            return True
        capacity = self._capacity
        while self._used + _entry_bytes(key) > capacity:
            capacity *= 2
        if capacity == self._capacity:
            return True
        try:
            os.posix_fallocate(self._f.fileno(), 0, capacity)  # MmapedDict then enlarges the file to the same size
        except OSError as error:
            if not self._is_full:
                log.error("new metrics are not stored", file=self._fname, error=repr(error))  # noqa: TRY400
            self._is_full = True
            return False
        self._is_full = False
        return True


def allocate(filename: str | os.PathLike[str]) -> None:
    """Create the file if it is missing, and allocate its disk space. Raises OSError: the disk is full."""
    descriptor = os.open(filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.posix_fallocate(descriptor, 0, max(os.fstat(descriptor).st_size, _INITIAL_BYTES))
    finally:
        os.close(descriptor)


def _entry_bytes(key: str) -> int:
    """Return the size of an entry: the key's length, the key padded to a multiple of 8 bytes, value and time stamp."""
    n_key_bytes = len(key.encode())
    return 4 + n_key_bytes + 8 - (n_key_bytes + 4) % 8 + 16
