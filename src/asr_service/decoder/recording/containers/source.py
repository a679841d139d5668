"""The file of a recording, and a part of it."""

import errno
from typing import Protocol


class Source(Protocol):
    """A readable, seekable file without a name. FFmpeg would guess the container from a name."""

    def read(self, n_bytes: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


class Part:
    """A part of a file, as a file of its own."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source = source
        self._start = start
        self._end = end
        self._at = start

    def read(self, n_bytes: int, /) -> bytes:
        self._source.seek(self._at)
        data = self._source.read(min(n_bytes, max(self._end - self._at, 0)))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Return the new position, or a negative errno as FFmpeg expects it."""
        at = offset + (self._start, self._at, self._end)[whence]
        if at < self._start:
            return -errno.EINVAL
        self._at = at
        return at - self._start

    def tell(self) -> int:
        return self._at - self._start


def size_of(source: Source) -> int:
    """Return the size of the file in bytes. Moves the position to its end."""
    return source.seek(0, 2)


def read_at(source: Source, at: int, n_bytes: int) -> bytes:
    """Return up to `n_bytes` from position `at` on. Moves the position."""
    source.seek(at)
    return source.read(n_bytes)
