"""Finds the sound of a WAV file whose chunks before it have wrong sizes, which FFmpeg refuses.

Some writers leave out the byte that must follow a chunk of an odd size, or count the header of a chunk in its size.
"""

import errno
import re
import struct
from typing import Final

from asr_service.decoder.recording.containers.riff import CHUNK_HEADER_BYTES, PLACEHOLDER, riff_chunks
from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_SEARCHED_BYTES: Final = 1024 * 1024
_FORMAT: Final = re.compile(rb"fmt [\x10-\x40]\x00\x00\x00", re.DOTALL)


class _Headed:
    """A file whose first bytes are replaced by others, of which there may be fewer or more."""

    def __init__(self, head: bytes, source: Source, rest_at: int) -> None:
        """`rest_at` is the position of the first byte that is not replaced."""
        self._head = head
        self._source = source
        self._n_removed = rest_at - len(head)
        self._end = size_of(source) - self._n_removed
        self._at = 0

    def read(self, n_bytes: int, /) -> bytes:
        data = self._head[self._at : self._at + n_bytes]
        if not data:
            data = read_at(self._source, self._at + self._n_removed, n_bytes)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Return the new position, or a negative errno as FFmpeg expects it."""
        at = offset + (0, self._at, self._end)[whence]
        if at < 0:
            return -errno.EINVAL
        self._at = at
        return at

    def tell(self) -> int:
        return self._at


def with_head(source: Source) -> Source:
    """Return the WAV file with a simple header if the sizes of its chunks do not lead to the sound.

    Returns every other file itself. Moves the position.
    """
    head = read_at(source, 0, 12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE" or any(chunk.name == b"data" for chunk in riff_chunks(source)):
        return source
    searched = read_at(source, 0, _SEARCHED_BYTES)
    form = _FORMAT.search(searched)
    data_at = -1 if form is None else _sound_at(searched, form.end(), size_of(source))
    if form is None or data_at < 0:
        return source
    chunk = searched[form.start() : min(form.end() + searched[form.start() + 4], data_at)]
    chunk = chunk[:4] + struct.pack("<I", len(chunk) - CHUNK_HEADER_BYTES) + chunk[CHUNK_HEADER_BYTES:]
    body_at = data_at + CHUNK_HEADER_BYTES
    return _Headed(head + chunk + searched[data_at:body_at], source, body_at)


def _sound_at(data: bytes, start: int, file_bytes: int) -> int:
    """Return the position of the chunk of samples, or -1.

    Texts contain its name too. So its size must be a placeholder, or most of the file's true or declared size.
    """
    declared = int.from_bytes(data[4:8], "little")
    at = data.find(b"data", start)
    while at >= 0:
        n_bytes = int.from_bytes(data[at + 4 : at + CHUNK_HEADER_BYTES], "little")
        n_left = file_bytes - at - CHUNK_HEADER_BYTES
        if n_bytes >= PLACEHOLDER or any(n / 2 <= n_bytes <= n for n in (n_left, declared)):
            return at
        at = data.find(b"data", at + 1)
    return -1
