"""Finds recordings that were joined into one file."""

import errno
import re
from dataclasses import dataclass
from typing import Final, Literal

from asr_service.decoder.sandboxed.sniff import ID3_HEADER_BYTES, Source, container_by_signature, id3_bytes

_OGG_SEGMENTS_AT: Final = 26
_OGG_BEGINS_STREAM: Final = 0x02
_MAX_LINKS: Final = 10_000
_SEARCH_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 1024 * 1024
_MAX_OBJECTS: Final = 256
_ASF: Final = b"\x30\x26\xb2\x75"
_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_FLAC: Final = rb"fLaC[\x00\x80]\x00\x00\x22"
_AU: Final = rb"\.snd\x00\x00[\x00-\x04].{5}\x00\x00\x00[\x01-\x1b]"
_SPHERE: Final = rb"NIST_1A\n *[0-9]+\n"
_AMR: Final = rb"#!AMR(?:-WB)?\n"
_HEADS: Final = {
    b"fLaC": re.compile(_FLAC),
    b".snd": re.compile(_AU, re.DOTALL),
    b"NIST": re.compile(_SPHERE),
    b"#!AM": re.compile(_AMR),
    b"AVI ": re.compile(rb"RIFF.{4}AVI LIST.{4}hdrlavih", re.DOTALL),
}
"""Heads of recordings that FFmpeg takes for data of the one before them, by the type of the file."""
_MAX_HEAD_BYTES: Final = 32
_MAX_SEARCHED_BYTES: Final = 16 * 1024 * 1024
"""Tags with a picture and indices are smaller."""
_TAGGED_MP3: Final = "MP3"
_FIRST_BLOCK: Final = b"[%b]" % b"".join(rb"\x%02x-\x%02x" % (byte, byte + 7) for byte in range(0x08, 0x100, 0x10))
"""Bit 11 of the flags of a WavPack block, which only the first of the blocks at one time has set."""
_SIGNATURES: Final = (
    ("WAV or AVI", rb"RIFF.{4}(?:WAVE|AVI LIST)"),
    ("WAV", rb"RF64.{4}WAVE"),
    ("WAV", rb"BW64.{4}WAVE"),
    ("W64", rb"riff\x2e\x91\xcf\x11"),
    ("FLAC", _FLAC),
    ("OGG", rb"OggS\x00\x02"),
    ("AIFF", rb"FORM.{4}AIF[FC]"),
    ("CAF", rb"caff\x00\x01\x00\x00desc"),
    ("AU", _AU),
    ("AMR", _AMR),
    ("NIST SPHERE", _SPHERE),
    ("Matroska or WebM", rb"\x1a\x45\xdf\xa3.{5,40}(?:webm|matroska)"),
    ("ASF or WMA", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("MP4", rb"ftyp(?:iso|mp4|M4A|M4V|M4B|qt  |3g[gp2]|avc|dash|MSNV|f4v|mmp4)"),
    ("FLV", rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09"),
    ("TTA", rb"TTA1[\x01-\x03]\x00"),
    ("VOC", rb"Creative Voice File\x1a"),
    ("WavPack", rb"wvpk.{4}[\x02-\x10]\x04.\x00.{4}\x00{4}.{5}" + _FIRST_BLOCK),
    ("Musepack", rb"MPCKSH"),
    ("Musepack", rb"MP\+[\x07\x17]"),
    ("Monkey's Audio", rb"MAC .\x0f"),
    ("TAK", rb"tBaK"),
    (_TAGGED_MP3, rb"ID3[\x02-\x04]\x00[\x00-\xf0][\x00-\x7f]{4}"),
)
_PATTERNS: Final = tuple((name, re.compile(pattern, re.DOTALL)) for name, pattern in _SIGNATURES)
"""Each begins with a literal, which `re` finds quickly. One pattern of all takes thirty times as long."""


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


def links(source: Source) -> list[tuple[int, int]]:
    """Return start and end of each link of a file: of each recording that is decoded by itself. Moves the position.

    Knows OGG, FLAC, AMR, AU, SPHERE and AVI. Other files are one link.
    """
    size = source.seek(0, 2)
    first = _after_tag(source)
    source.seek(first)
    head = source.read(12)
    magic = head[8:] if head.startswith(b"RIFF") else head[:4]
    if magic == b"OggS":
        starts = _ogg_starts(source)
    else:
        starts = [0, *_heads_after(source, first, _HEADS[magic])] if magic in _HEADS else [0]
    return list(zip(starts, [*starts[1:], size], strict=True))


def _after_tag(source: Source) -> int:
    source.seek(0)
    head = source.read(ID3_HEADER_BYTES)
    return id3_bytes(head) if head.startswith(b"ID3") else 0


def _heads_after(source: Source, first: int, head: re.Pattern[bytes]) -> list[int]:
    """Return the positions of the heads after the first one."""
    at, tail = first + 1, b""
    found: list[int] = []
    source.seek(at)
    while len(found) < _MAX_LINKS and (read := source.read(_READ_BYTES)):
        data = tail + read
        places = (at - len(tail) + match.start() for match in head.finditer(data))
        found += [place for place in places if not found or place > found[-1]]
        at += len(read)
        tail = data[-_MAX_HEAD_BYTES:]
    return found[:_MAX_LINKS]


def _ogg_starts(source: Source) -> list[int]:
    """Return where the links of an OGG file begin: with pages that are marked as the beginning of a stream.

    RFC 3533, sections 4 and 6. A file without a valid first page is one link.
    """
    starts, at, in_header = [0], 0, True
    while len(starts) < _MAX_LINKS:
        source.seek(at)
        header = source.read(_OGG_SEGMENTS_AT + 1 + 255)
        if len(header) <= _OGG_SEGMENTS_AT:
            break
        if not header.startswith(b"OggS"):
            at = _next_page(source, at + 1)
            if at < 0:
                break
            continue
        begins_stream = bool(header[5] & _OGG_BEGINS_STREAM)
        if begins_stream and not in_header:
            starts.append(at)
        in_header = begins_stream
        n_segments = header[_OGG_SEGMENTS_AT]
        body = _OGG_SEGMENTS_AT + 1
        at += body + n_segments + sum(header[body : body + n_segments])
    return starts


def _next_page(source: Source, at: int) -> int:
    """Return the position of the next page from `at` on, or -1."""
    source.seek(at)
    tail = b""
    while data := source.read(_SEARCH_BYTES):
        found = (tail + data).find(b"OggS")
        if found >= 0:
            return at - len(tail) + found
        at += len(data)
        tail = (tail + data)[-3:]
    return -1


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
    _ASF: _Layout(24, 16, 8, "little", is_inclusive=True),
}
_MP4: Final = _Layout(8, 0, 4, "big", is_inclusive=True)
_MP4_LARGE: Final = _Layout(16, 8, 8, "big", is_inclusive=True)


def following_recording(source: Source) -> tuple[str, int] | None:
    """Return name and position of the container that follows after the end of the first one. Moves the position.

    Knows WAV, AIFF, W64, CAF, WMA, MP4 and Matroska. FFmpeg decodes the first recording only, or mixes up both.
    """
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(12)
    if head.startswith(_EBML):
        return _after_matroska(source, size)
    if head[8:12] == b"AVI ":  # large files have more than one RIFF chunk
        return None
    layout = _MP4 if head[4:8] == b"ftyp" else _LAYOUTS.get(head[:4])
    return None if layout is None else _after_objects(source, size, layout)


def _after_objects(source: Source, size: int, layout: _Layout) -> tuple[str, int] | None:
    at, has_index = layout.first, False
    for _ in range(_MAX_OBJECTS):
        source.seek(at)
        header = source.read(24)
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
    for name in (_EBML, _SEGMENT):
        source.seek(at)
        header = source.read(12)
        n_digits = 9 - header[4].bit_length() if len(header) == 12 else 9  # noqa: PLR2004
        if not header.startswith(name) or n_digits > 8:  # noqa: PLR2004
            return None
        number = int.from_bytes(header[4 : 4 + n_digits], "big")
        all_ones = (1 << 7 * n_digits) - 1
        if number & all_ones == all_ones:
            return None
        at += 4 + n_digits + (number & all_ones)
    source.seek(at)
    found = container_by_signature(source.read(12)) if at < size else None
    return None if found is None else (found, at)


def recording_behind(source: Source, at: int) -> str | None:
    """Return the name of the container that begins behind position `at`, the start of the last packet.

    Most demuxers stop at the end of the recording that the header describes. Tags, a picture or an index may follow, so
    only complete signatures count. Recordings without one, such as AAC, are not found. Moves the position.
    """
    source.seek(at + 1)
    data = source.read(_MAX_SEARCHED_BYTES)
    for name, pattern in _PATTERNS:
        for match in pattern.finditer(data):
            if name != _TAGGED_MP3 or _is_before_a_frame(data, match.start()):
                return name
    return None


def _is_before_a_frame(data: bytes, at: int) -> bool:
    """Return whether an ID3 tag begins an MP3 file. Other files have such tags at their end."""
    end = at + id3_bytes(data[at : at + ID3_HEADER_BYTES])
    return data[end : end + 1] == b"\xff" and data[end + 1 : end + 2] >= b"\xe0"
