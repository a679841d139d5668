"""Joins the samples of a WAV file that has them in several chunks. FFmpeg decodes one of them only."""

import re
import struct
from dataclasses import dataclass, field
from typing import Final

from asr_service.decoder.recording.containers.riff import CHUNK_HEADER_BYTES, PLACEHOLDER, Chunk, riff_chunks
from asr_service.decoder.recording.containers.source import Assembled, Source, read_at, size_of

_FIRST_CHUNK: Final = 12
_MAX_CHUNKS: Final = 100_000
_MAX_FORMAT_BYTES: Final = 256
_NAME: Final = re.compile(rb"[ -~]{4}")


@dataclass(frozen=True, slots=True)
class Joined:
    """A WAV file with one chunk of samples."""

    source: Source
    is_complete: bool
    """Whether it has all samples. False if further ones have another format."""


def joined(source: Source) -> Joined:
    """Return the WAV file with the samples of all its chunks in one, or the file itself. Moves the position."""
    head = read_at(source, 0, _FIRST_CHUNK)
    found = _found(source) if head[:4] == b"RIFF" and head[8:] == b"WAVE" else _Found()
    if found.form is None or not found.pieces or (found.n_chunks < 2 and not found.has_other):  # noqa: PLR2004 - no pair
        return Joined(source, is_complete=True)
    size = size_of(source)
    bodies = [_body(piece, size) for piece in found.pieces]
    n_bytes = sum(end - start for start, end in bodies)
    form = _whole(source, found.form) + bytes(found.form.n_bytes % 2)
    start = form + b"data" + struct.pack("<I", min(n_bytes, PLACEHOLDER))
    n_riff = min(len(b"WAVE" + start) + n_bytes, PLACEHOLDER)
    rest_at = size if found.has_other else min(found.end, size)
    ranges = [*((start, min(end, size)) for start, end in bodies), (rest_at, size)]
    head = b"RIFF" + struct.pack("<I", n_riff) + b"WAVE" + start
    return Joined(Assembled(head, source, ranges), is_complete=not found.has_other)


@dataclass(slots=True)
class _Found:
    """The chunks of a WAV file."""

    form: Chunk | None = None
    pieces: list[Chunk] = field(default_factory=list)
    """The chunks of samples, without empty ones."""
    n_chunks: int = 0
    """Number of chunks of samples, with empty ones."""
    end: int = 0
    """Where the last of them ends."""
    has_other: bool = False
    """Whether samples of another format follow."""


def _found(source: Source) -> _Found:
    found = _Found()
    is_other = False
    for chunk in riff_chunks(source, _MAX_CHUNKS):
        if chunk.name == b"fmt " and chunk.n_bytes <= _MAX_FORMAT_BYTES:
            found.form = found.form or chunk
            is_other = bool(found.pieces) and _whole(source, chunk) != _whole(source, found.form)
        elif chunk.name == b"data":
            if is_other:
                found.has_other = True
                break
            found.n_chunks += 1
            found.pieces += [chunk] if chunk.n_bytes else []
            found.end = chunk.at + CHUNK_HEADER_BYTES + chunk.n_bytes + chunk.n_bytes % 2
        if not _NAME.fullmatch(chunk.name) or chunk.n_bytes >= PLACEHOLDER:  # no chunk, or one up to the end
            break
    return found


def _body(piece: Chunk, size: int) -> tuple[int, int]:
    """Return the declared start and end of a chunk's body. A placeholder means the end of the file."""
    start = piece.at + CHUNK_HEADER_BYTES
    return start, start + piece.n_bytes if piece.n_bytes < PLACEHOLDER else size


def _whole(source: Source, chunk: Chunk) -> bytes:
    """Return the header and the body of a chunk."""
    return read_at(source, chunk.at, CHUNK_HEADER_BYTES + chunk.n_bytes)
