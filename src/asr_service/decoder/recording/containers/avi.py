"""Reads the headers and the index of an AVI file: the duration of its audio, and the times without audio."""

import struct
from dataclasses import dataclass
from typing import Final

from asr_service.decoder.recording.containers.riff import CHUNK_HEADER_BYTES, riff_chunks
from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_UNKNOWN_SIZE: Final = b"\xff" * 4
_STREAM: Final = struct.Struct("<IIII8xI")  # scale, rate, start, length and sample size of a stream's header
_STREAM_AT: Final = 28
_STREAM_END: Final = _STREAM_AT + _STREAM.size
_ENTRY: Final = struct.Struct("<4sIII")  # name, flags, position and size of a chunk
_MAX_INDEX_BYTES: Final = 32 * 1024 * 1024
_MAX_ABSENCES: Final = 10_000


def declared_duration_s(source: Source) -> float | None:
    """Return the duration that an AVI header declares for its audio, if the file is shorter than its header says.

    FFmpeg reduces the duration of a truncated AVI file to what is there. Moves the position.
    """
    size = size_of(source)
    if int.from_bytes(read_at(source, 4, 4), "little") + CHUNK_HEADER_BYTES <= size or is_streamed(source):
        return None
    longest_s = 0.0
    for chunk in riff_chunks(source):
        if chunk.name == b"strh" and chunk.kind == b"auds" and len(chunk.head) >= _STREAM_END:
            scale, rate, _, length, _ = _STREAM.unpack_from(chunk.head, _STREAM_AT)
            longest_s = max(longest_s, length * scale / rate if rate else 0.0)
    return longest_s or None


def is_streamed(source: Source) -> bool:
    """Return whether the writer could not seek back, so that the header declares nothing. Keeps the position."""
    position = source.tell()
    size = read_at(source, 4, 4)
    source.seek(position)
    return size == _UNKNOWN_SIZE


@dataclass(frozen=True, slots=True)
class Absence:
    """A time without audio."""

    before: int
    """The position in the file of the first packet after it."""
    end_s: float
    """Its end, from the start of the stream on."""
    seconds: float
    """Its longest possible duration. The packet before it may last longer than the file says."""


def absences(source: Source, stream_index: int) -> list[Absence]:
    """Return where an audio stream of an AVI file has empty chunks, which last as long as others.

    FFmpeg skips them. Streams whose time is counted in bytes have none. Keeps the position, which FFmpeg relies on.
    """
    position = source.tell()
    try:
        index = _find_index(source, stream_index)
        return [] if index is None or not index.chunk_s else _empty_chunks(source, index)
    finally:
        source.seek(position)


@dataclass(frozen=True, slots=True)
class _Index:
    """The index of an AVI file, and what it says of one stream."""

    name: bytes
    """The name of the stream's chunks."""
    chunk_s: float
    """How long a chunk lasts; 0 if that depends on its size."""
    movie_at: int
    """The position from which on entries count, unless they count from the start of the file."""
    at: int
    n_bytes: int


def _find_index(source: Source, stream_index: int) -> _Index | None:
    chunk_s, movie_at, n_streams = 0.0, 0, 0
    for chunk in riff_chunks(source):
        body_at = chunk.at + CHUNK_HEADER_BYTES
        if chunk.name == b"idx1":
            return _Index(b"%02dwb" % stream_index, chunk_s, movie_at, body_at, min(chunk.n_bytes, _MAX_INDEX_BYTES))
        if chunk.name == b"strh" and len(chunk.head) >= _STREAM_END:
            if n_streams == stream_index:
                scale, rate, _, _, sample_bytes = _STREAM.unpack_from(chunk.head, _STREAM_AT)
                chunk_s = scale / rate if rate and not sample_bytes else 0.0
            n_streams += 1
        elif chunk.kind == b"movi":
            movie_at = body_at
    return None


def _empty_chunks(source: Source, index: _Index) -> list[Absence]:
    data = read_at(source, index.at, index.n_bytes)
    if len(data) < _ENTRY.size:
        return []
    found: list[Absence] = []
    first_name, _, first_at, _ = _ENTRY.unpack_from(data)
    base = 0 if read_at(source, first_at, 4) == first_name else index.movie_at
    n_chunks = n_empty = 0
    for name, _, at, size in _ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]):
        if name != index.name:
            continue
        if size and n_empty and len(found) < _MAX_ABSENCES:
            found.append(Absence(base + at, n_chunks * index.chunk_s, n_empty * index.chunk_s))
        n_chunks += 1
        n_empty = 0 if size else n_empty + 1
    return found
