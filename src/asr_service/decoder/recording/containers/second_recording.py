"""Finds a second recording in a file, of which only the first is decoded."""

import operator
import re
from typing import Final

from asr_service.decoder.recording.containers import gsm, layouts
from asr_service.decoder.recording.containers.frames import first_frames
from asr_service.decoder.recording.containers.heads import BOX_SIZE_BYTES, BOXED, HEADS, REPEATED, TAGGED_MP3
from asr_service.decoder.recording.containers.layouts import Layout
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


_LAYOUTS: Final = {
    b"RIFF": layouts.RIFF,
    b"FORM": layouts.AIFF,
    b"riff": layouts.W64,
    b"caff": layouts.CAF,
    ASF: layouts.ASF,
}
_LARGE_BOX: Final = b"\x00\x00\x00\x01"
_BOUNDLESS: Final = {b"#!AM": "AMR", b".snd": "AU"}
"""Recordings of which FFmpeg takes everything that follows for sound."""
_FIRST: Final = {b"caff": 8}
"""Where the first object is, if it is not at the start of the file."""


def following_recording(source: Source) -> tuple[str, int] | None:
    """Return name and position of the container that follows after the end of the first one. Moves the position.

    Knows WAV, AIFF, W64, CAF, WMA, MP4, Matroska, AMR, AU and GSM. FFmpeg decodes the first recording only, or mixes up
    both.
    """
    size = size_of(source)
    head = read_at(source, 0, 12)
    if head[:4] in _BOUNDLESS or gsm.begins(source):
        return _first_other(source, _BOUNDLESS.get(head[:4], ""))
    if head.startswith(EBML):
        return _after_matroska(source, size)
    if head[8:12] == b"AVI ":  # large files have more than one RIFF chunk
        return None
    layout = layouts.MP4 if head[4:8] == b"ftyp" else _LAYOUTS.get(head[:4])
    return None if layout is None else _after_objects(source, size, layout, _FIRST.get(head[:4], 0))


def _after_objects(source: Source, size: int, layout: Layout, first: int) -> tuple[str, int] | None:
    at, has_index = first, False
    for _ in range(_MAX_OBJECTS):
        header = read_at(source, at, _HEADER_BYTES)
        name = container_by_signature(header)
        if name is not None and at > first and (layout is not layouts.MP4 or has_index):
            return name, at
        has_index = has_index or header[4:8] == b"moov"
        is_large = layout is layouts.MP4 and header.startswith(_LARGE_BOX)
        n_bytes = (layouts.MP4_LARGE if is_large else layout).object_bytes(header)
        if n_bytes <= 0 or at + n_bytes >= size:
            return None
        at += n_bytes
    return None


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


def _first_other(source: Source, own: str) -> tuple[str, int] | None:
    """Return name and position of the first container of another name behind the start of the file."""
    data = read_at(source, 1, _MAX_SEARCHED_BYTES)
    found = [(name, at) for name, head in HEADS if name != own for at in [_head_at(data, name, head)] if at >= 0]
    frames = first_frames(data)
    found += [] if frames is None else [frames]
    name, at = min(found, key=operator.itemgetter(1), default=("", -1))
    return (name, 1 + at) if name else None


def recording_behind(source: Source, at: int, kind: str) -> str | None:
    """Return the name of the container that begins behind position `at`, the start of the last packet.

    `kind` is FFmpeg's name of the container of the recording before it.

    Most demuxers stop at the end of the recording that the header describes. Tags, a picture or an index may follow, so
    only complete heads count. `frames_behind` finds recordings without one. Moves the position.
    """
    data = read_at(source, at + 1, _MAX_SEARCHED_BYTES)
    own = REPEATED.get(kind)
    return next((name for name, head in HEADS if name != own and _head_at(data, name, head) >= 0), None)


def _head_at(data: bytes, name: str, head: re.Pattern[bytes]) -> int:
    """Return the position of the first recording of a container, or -1."""
    for match in head.finditer(data):
        if name != TAGGED_MP3 or _is_before_a_frame(data, match.start()):
            return max(match.start() - (BOX_SIZE_BYTES if name == BOXED else 0), 0)
    return -1


def _is_before_a_frame(data: bytes, at: int) -> bool:
    """Return whether an ID3 tag begins an MP3 file. Other files have such tags at their end."""
    end = at + id3_bytes(data[at : at + ID3_HEADER_BYTES])
    return begins_frame(data[end : end + 2])
