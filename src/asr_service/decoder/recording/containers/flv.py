"""Recognises FLV files that end early."""

import struct
from typing import Final

from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_HEAD_BYTES: Final = 4096
_TAGS: Final = frozenset({b"\x08", b"\x09", b"\x12"})  # audio, video, data
_TAG_HEADER_BYTES: Final = 11  # the size after a tag includes its header
_SIZE_BYTES: Final = 4
_FIRST_TAG: Final = 13
_FILE_SIZE: Final = b"filesize\x00"  # the name and the type of a number
_DOUBLE: Final = struct.Struct(">d")


def is_truncated(source: Source) -> bool:
    """Return whether an FLV file is shorter than its metadata declares, or ends within a tag. Moves the position."""
    size = size_of(source)
    head = read_at(source, 0, _HEAD_BYTES)
    if _declared_bytes(head) > size:
        return True
    first = int.from_bytes(head[_FIRST_TAG + 1 : _FIRST_TAG + 4], "big") + _TAG_HEADER_BYTES
    has_sizes = _tag_before(source, _FIRST_TAG + first + _SIZE_BYTES) == first
    return has_sizes and not _tag_before(source, size)


def _declared_bytes(head: bytes) -> float:
    """Return the size of the file in its metadata, or 0 if they do not declare it."""
    found = head.find(_FILE_SIZE)
    at = found + len(_FILE_SIZE)
    if found < 0 or len(head) < at + _DOUBLE.size:
        return 0.0
    return float(_DOUBLE.unpack_from(head, at)[0])


def _tag_before(source: Source, end: int) -> int:
    """Return the size of the tag that ends here with its size, or 0 if none does."""
    n_bytes = int.from_bytes(read_at(source, max(end - _SIZE_BYTES, 0), _SIZE_BYTES), "big")
    header = read_at(source, max(end - _SIZE_BYTES - n_bytes, 0), _TAG_HEADER_BYTES)
    is_tag = header[:1] in _TAGS and int.from_bytes(header[1:4], "big") + _TAG_HEADER_BYTES == n_bytes
    return n_bytes if is_tag else 0
