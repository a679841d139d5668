"""The file of a recording, a part of it, and corrected versions of it."""

import bisect
import errno
import itertools
from collections.abc import Sequence
from typing import Final, Protocol

_READ_BYTES: Final = 1024 * 1024


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


class Patched:
    """A file of which some bytes are replaced."""

    def __init__(self, source: Source, patches: dict[int, bytes]) -> None:
        """`patches` has the new bytes by their position."""
        self._source = source
        self._patches = patches

    def read(self, n_bytes: int, /) -> bytes:
        at = self._source.tell()
        data = bytearray(self._source.read(n_bytes))
        for place, patch in self._patches.items():
            start, end = max(place, at), min(place + len(patch), at + len(data))
            if start < end:
                data[start - at : end - at] = patch[start - place : end - place]
        return bytes(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()


class Assembled:
    """A file that consists of some bytes and of pieces of another file."""

    def __init__(self, head: bytes, source: Source, pieces: Sequence[tuple[int, int]]) -> None:
        """`pieces` has the start and the end of each."""
        self._head = head
        self._source = source
        self._pieces = pieces
        sizes = (end - start for start, end in pieces)
        self._starts = list(itertools.accumulate(sizes, initial=len(head)))
        """Where each piece begins, and the end of the last one."""
        self._at = 0

    def read(self, n_bytes: int, /) -> bytes:
        data = self._head[self._at : self._at + n_bytes]
        self._at += len(data)
        while len(data) < n_bytes and self._at < self._starts[-1]:
            read = self._read_piece(n_bytes - len(data))
            if not read:  # the file has become shorter
                break
            data += read
        return data

    def _read_piece(self, n_bytes: int) -> bytes:
        """Return the next bytes of one piece."""
        i = bisect.bisect_right(self._starts, self._at) - 1
        start, end = self._pieces[i]
        at = start + self._at - self._starts[i]
        data = read_at(self._source, at, min(n_bytes, end - at))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Return the new position, or a negative errno as FFmpeg expects it."""
        at = offset + (0, self._at, self._starts[-1])[whence]
        if at < 0:
            return -errno.EINVAL
        self._at = at
        return at

    def tell(self) -> int:
        return self._at


def size_of(source: Source) -> int:
    """Return the size of the file in bytes. Moves the position to its end."""
    return source.seek(0, 2)


def read_at(source: Source, at: int, n_bytes: int) -> bytes:
    """Return up to `n_bytes` from position `at` on. Moves the position."""
    source.seek(at)
    return source.read(n_bytes)


def first_other(source: Source, at: int, byte: bytes) -> int:
    """Return the position of the first byte from `at` on that is not this one, or -1. Moves the position."""
    source.seek(at)
    while data := source.read(_READ_BYTES):
        stripped = data.lstrip(byte)
        if stripped:
            return at + len(data) - len(stripped)
        at += len(data)
    return -1
