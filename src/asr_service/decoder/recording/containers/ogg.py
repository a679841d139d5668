"""Reads the pages of an OGG file. RFC 3533, section 6, describes them."""

import struct
from dataclasses import dataclass
from typing import Final

from asr_service.decoder.recording.containers.source import Source, read_at, size_of

PAGE: Final = b"OggS"
_FLAGS_AT: Final = 5
_CONTINUES_PACKET: Final = 0x01
_BEGINS_STREAM: Final = 0x02
_POSITION: Final = struct.Struct("<q")
_POSITION_AT: Final = 6
_SEGMENTS_AT: Final = 26
_SIZES_AT: Final = _SEGMENTS_AT + 1
_MAX_SEGMENTS: Final = 255
_MAX_SEGMENT_BYTES: Final = 255
"""A packet ends with the first shorter segment."""
_MAX_HEADER_BYTES: Final = _SIZES_AT + _MAX_SEGMENTS
_MAX_PAGE_BYTES: Final = _MAX_HEADER_BYTES + _MAX_SEGMENTS * _MAX_SEGMENT_BYTES
_SEARCH_BYTES: Final = 64 * 1024


def is_truncated(source: Source) -> bool:
    """Return whether the last page of an OGG file extends past the file's end. Moves the position."""
    tail = read_at(source, max(0, size_of(source) - _MAX_PAGE_BYTES), _MAX_PAGE_BYTES)
    at = tail.rfind(PAGE)
    if at < 0:
        return False
    page = tail[at:]
    return len(page) < _SIZES_AT or _page_bytes(page) > len(page)


def link_starts(source: Source, max_links: int) -> list[int]:
    """Return where the links of an OGG file begin: with pages that are marked as the beginning of a stream.

    RFC 3533, section 4. A file without a valid first page is one link. Moves the position.
    """
    starts, at, in_header = [0], 0, True
    while len(starts) < max_links:
        header = read_at(source, at, _MAX_HEADER_BYTES)
        if len(header) < _SIZES_AT:
            break
        if not header.startswith(PAGE):
            at = _next_page(source, at + 1)
            if at < 0:
                break
            continue
        begins_stream = bool(header[_FLAGS_AT] & _BEGINS_STREAM)
        if begins_stream and not in_header:
            starts.append(at)
        in_header = begins_stream
        at += _page_bytes(header)
    return starts


@dataclass(frozen=True, slots=True)
class Page:
    """What the header of a page says of its packets."""

    n_packets: int
    """How many packets begin and end on it."""
    end: int
    """The position in the stream where the last packet that ends on it ends, in the stream's own unit."""


def page_at(source: Source, at: int) -> Page | None:
    """Return the page that begins at this position, or None if none does. Keeps the position, as FFmpeg needs it."""
    position = source.tell()
    header = read_at(source, at, _MAX_HEADER_BYTES)
    source.seek(position)
    if not header.startswith(PAGE) or len(header) < _SIZES_AT:
        return None
    sizes = header[_SIZES_AT : _SIZES_AT + header[_SEGMENTS_AT]]
    n_ends = sum(size < _MAX_SEGMENT_BYTES for size in sizes)
    return Page(n_ends - (header[_FLAGS_AT] & _CONTINUES_PACKET), _POSITION.unpack_from(header, _POSITION_AT)[0])


def _page_bytes(header: bytes) -> int:
    """Return the size of a page. The header may be incomplete from the sizes of its segments on."""
    n_segments = header[_SEGMENTS_AT]
    return _SIZES_AT + n_segments + sum(header[_SIZES_AT : _SIZES_AT + n_segments])


def _next_page(source: Source, at: int) -> int:
    """Return the position of the next page from `at` on, or -1."""
    source.seek(at)
    tail = b""
    while data := source.read(_SEARCH_BYTES):
        found = (tail + data).find(PAGE)
        if found >= 0:
            return at - len(tail) + found
        at += len(data)
        tail = (tail + data)[-3:]
    return -1
