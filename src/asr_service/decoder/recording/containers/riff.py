"""Walks through the chunks of a RIFF file: WAV and AVI."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asr_service.decoder.recording.containers.source import Source, read_at

CHUNK_HEADER_BYTES: Final = 8
PLACEHOLDER: Final = 0x7FFF_0000
"""From this size of a chunk on, a writer that could not seek back does not mean it."""
_FIRST_CHUNK: Final = 12
_LIST_HEADER_BYTES: Final = 12
_OPENED_LISTS: Final = frozenset({b"hdrl", b"strl", b"wavl"})
"""The lists that contain the headers of an AVI file's streams, or the samples of a WAV file."""
_HEAD_BYTES: Final = 64  # a stream's header, the longest part of a chunk that is looked at, is shorter
_MAX_CHUNKS: Final = 256


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a RIFF file."""

    name: bytes
    at: int
    """The position of its header."""
    n_bytes: int
    """The size of its body."""
    head: bytes
    """Its first bytes, the header included."""

    @property
    def kind(self) -> bytes:
        """The type of a list, or the first bytes of another chunk."""
        return self.head[CHUNK_HEADER_BYTES:_LIST_HEADER_BYTES]


def riff_chunks(source: Source, max_chunks: int = _MAX_CHUNKS) -> Iterator[Chunk]:
    """Yield the first chunks of the file, and those within some lists. Moves the position."""
    at = _FIRST_CHUNK
    for _ in range(max_chunks):
        head = read_at(source, at, _HEAD_BYTES)
        if len(head) < CHUNK_HEADER_BYTES:
            return
        chunk = Chunk(head[:4], at, int.from_bytes(head[4:8], "little"), head)
        yield chunk
        is_opened = chunk.name == b"LIST" and chunk.kind in _OPENED_LISTS
        at += _LIST_HEADER_BYTES if is_opened else CHUNK_HEADER_BYTES + chunk.n_bytes + chunk.n_bytes % 2
