"""Repairs a fragmented MP4 file that is damaged between its fragments, where FFmpeg would stop."""

import re
from typing import Final

from asr_service.decoder.recording.containers.source import Patched, Source, read_at, size_of

_HEADER_BYTES: Final = 8
_LARGE_HEADER_BYTES: Final = 16
_LARGE: Final = 1
"""The size of a box whose size is in the eight bytes after its type."""
_MAX_BOXES: Final = 500_000
_MAX_BOX_BYTES: Final = 0xFFFF_FFFF
_MAX_DAMAGED: Final = 1000
_TYPE: Final = re.compile(rb"[ -~\xa9]{4}")
_FRAGMENT: Final = re.compile(rb"moof\x00\x00\x00\x10mfhd")
"""How a fragment begins, after its size."""
_SIZE_BYTES: Final = 4
_READ_BYTES: Final = 1024 * 1024


def repaired(source: Source) -> Source:
    """Return the file with a `free` box in place of what is damaged between fragments, or the file itself.

    The positions of everything else stay, because fragments may refer to them. Moves the position.
    """
    if read_at(source, 4, 4) != b"ftyp":
        return source
    patches = {at: (end - at).to_bytes(4, "big") + b"free" for at, end in _damaged_ranges(source)}
    return Patched(source, patches) if patches else source


def _damaged_ranges(source: Source) -> list[tuple[int, int]]:
    """Return start and end of what is no box, each up to the next fragment."""
    size, at = size_of(source), 0
    fragment_at, box_at = -1, 0
    found: list[tuple[int, int]] = []
    for _ in range(_MAX_BOXES):
        if at == size or len(found) == _MAX_DAMAGED:
            break
        header = read_at(source, at, _LARGE_HEADER_BYTES)
        n_bytes = _box_bytes(header)
        if n_bytes and at + n_bytes <= size:
            fragment_at = at if header[4:8] == b"moof" else fragment_at
            box_at, at = at, at + n_bytes
            continue
        following = _next_fragment(source, box_at + _HEADER_BYTES) if fragment_at >= 0 else -1
        if following < 0:
            break
        start = at if following >= at else fragment_at  # bytes are missing: the box before contains the next fragment
        if not _HEADER_BYTES <= following - start <= _MAX_BOX_BYTES:
            break
        found.append((start, following))
        box_at = at = following
    return found


def _box_bytes(header: bytes) -> int:
    """Return the size of a box, or 0 if this is no header of one."""
    if len(header) < _HEADER_BYTES or not _TYPE.fullmatch(header[4:8]):
        return 0
    n_bytes = int.from_bytes(header[:4], "big")
    n_bytes = int.from_bytes(header[8:16], "big") if n_bytes == _LARGE else n_bytes
    return n_bytes if n_bytes >= _HEADER_BYTES else 0


def _next_fragment(source: Source, at: int) -> int:
    """Return the position of the next fragment from `at` on, or -1."""
    source.seek(at)
    tail = b""
    while data := source.read(_READ_BYTES):
        match = _FRAGMENT.search(tail + data)
        if match is not None:
            return at - len(tail) + match.start() - _SIZE_BYTES
        at += len(data)
        tail = (tail + data)[-16:]
    return -1
