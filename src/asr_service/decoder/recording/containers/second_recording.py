"""Finds a second recording in a file, of which only the first is decoded."""

from dataclasses import dataclass
from typing import Final, Literal

from asr_service.decoder.recording.containers.heads import HEADS, TAGGED_MP3
from asr_service.decoder.recording.containers.mpeg_audio import ID3_HEADER_BYTES, begins_frame, id3_bytes
from asr_service.decoder.recording.containers.signatures import ASF, EBML, container_by_signature
from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_SEGMENT: Final = b"\x18\x53\x80\x67"
_ELEMENT_BYTES: Final = 12
"""A Matroska element's name of four bytes, and its size of at most eight. The first byte of a size has its length."""
_MAX_OBJECTS: Final = 256
_HEADER_BYTES: Final = 24
"""The longest header of an object is this long."""
_MAX_SEARCHED_BYTES: Final = 16 * 1024 * 1024
"""Tags with a picture and indices are smaller."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where an object of a container has its size. Objects follow each other up to the end of the recording."""

    n_bytes: int
    """Size of an object's header."""
    size_at: int
    size_bytes: int
    byte_order: Literal["big", "little"]
    is_inclusive: bool
    """Whether the size includes the header."""
    first: int = 0
    """Where the first object is."""
    alignment: int = 1


_LAYOUTS: Final = {
    b"RIFF": _Layout(8, 4, 4, "little", is_inclusive=False, alignment=2),
    b"FORM": _Layout(8, 4, 4, "big", is_inclusive=False, alignment=2),
    b"riff": _Layout(24, 16, 8, "little", is_inclusive=True, alignment=8),
    b"caff": _Layout(12, 4, 8, "big", is_inclusive=False, first=8),
    ASF: _Layout(24, 16, 8, "little", is_inclusive=True),
}
_MP4: Final = _Layout(8, 0, 4, "big", is_inclusive=True)
_MP4_LARGE: Final = _Layout(16, 8, 8, "big", is_inclusive=True)


def following_recording(source: Source) -> tuple[str, int] | None:
    """Return name and position of the container that follows after the end of the first one. Moves the position.

    Knows WAV, AIFF, W64, CAF, WMA, MP4 and Matroska. FFmpeg decodes the first recording only, or mixes up both.
    """
    size = size_of(source)
    head = read_at(source, 0, 12)
    if head.startswith(EBML):
        return _after_matroska(source, size)
    if head[8:12] == b"AVI ":  # large files have more than one RIFF chunk
        return None
    layout = _MP4 if head[4:8] == b"ftyp" else _LAYOUTS.get(head[:4])
    return None if layout is None else _after_objects(source, size, layout)


def _after_objects(source: Source, size: int, layout: _Layout) -> tuple[str, int] | None:
    at, has_index = layout.first, False
    for _ in range(_MAX_OBJECTS):
        header = read_at(source, at, _HEADER_BYTES)
        name = container_by_signature(header)
        if name is not None and at > layout.first and (layout is not _MP4 or has_index):
            return name, at
        has_index = has_index or header[4:8] == b"moov"
        n_bytes = _object_bytes(header, layout)
        if n_bytes <= 0 or at + n_bytes >= size:
            return None
        at += n_bytes
    return None


def _object_bytes(header: bytes, layout: _Layout) -> int:
    """Return the size of an object with its header, or a number below 1 if it is not known."""
    if layout is _MP4 and header[:4] == b"\x00\x00\x00\x01":
        layout = _MP4_LARGE
    field = header[layout.size_at : layout.size_at + layout.size_bytes]
    n_bytes = int.from_bytes(field, layout.byte_order, signed=layout.size_bytes == 8)  # noqa: PLR2004
    if n_bytes < (layout.n_bytes if layout.is_inclusive else 0):
        return 0
    n_bytes += 0 if layout.is_inclusive else layout.n_bytes
    return n_bytes + -n_bytes % layout.alignment


def _after_matroska(source: Source, size: int) -> tuple[str, int] | None:
    """Look behind the header and the segment, if the segment has a size: a live stream has none."""
    at = 0
    for name in (EBML, _SEGMENT):
        header = read_at(source, at, _ELEMENT_BYTES)
        if len(header) < _ELEMENT_BYTES or not header.startswith(name) or not header[len(name)]:
            return None
        size_bytes = 9 - header[len(name)].bit_length()
        number = int.from_bytes(header[len(name) : len(name) + size_bytes], "big")
        unknown = (1 << 7 * size_bytes) - 1
        if number & unknown == unknown:
            return None
        at += len(name) + size_bytes + (number & unknown)
    found = container_by_signature(read_at(source, at, _HEADER_BYTES)) if at < size else None
    return None if found is None else (found, at)


def recording_behind(source: Source, at: int) -> str | None:
    """Return the name of the container that begins behind position `at`, the start of the last packet.

    Most demuxers stop at the end of the recording that the header describes. Tags, a picture or an index may follow, so
    only complete heads count. `frames_behind` finds recordings without one. Moves the position.
    """
    data = read_at(source, at + 1, _MAX_SEARCHED_BYTES)
    for name, head in HEADS:
        for match in head.finditer(data):
            if name != TAGGED_MP3 or _is_before_a_frame(data, match.start()):
                return name
    return None


def _is_before_a_frame(data: bytes, at: int) -> bool:
    """Return whether an ID3 tag begins an MP3 file. Other files have such tags at their end."""
    end = at + id3_bytes(data[at : at + ID3_HEADER_BYTES])
    return begins_frame(data[end : end + 2])
