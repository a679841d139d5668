"""Reads signatures and headers: what a file looks like, the duration in a WAV header, a truncated OGG file.

Error messages and warnings use this. It does not decide what is decoded: FFmpeg probes the allowed containers for that.
"""

import errno
import struct
from typing import Final, Protocol

HEAD_BYTES: Final = 4096

_NOT_AUDIO: Final = (
    (b"#EXTM3U", "an M3U or HLS playlist"),
    (b"ffconcat", "a concat script"),
    (b"[playlist]", "a PLS playlist"),
    (b"v=0", "an SDP session description"),
    (b"<?xml", "an XML document"),
    (b"<MPD", "a DASH manifest"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<smil", "a SMIL playlist"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MThd", "a MIDI file, which contains notes and no sound"),
)
_AUDIO: Final = (
    (b"RIFF", "WAV or AVI"),
    (b"RF64", "WAV"),
    (b"riff", "W64"),
    (b"fLaC", "FLAC"),
    (b"OggS", "OGG"),
    (b"ID3", "MP3"),
    (b"FORM", "AIFF"),
    (b"caff", "CAF"),
    (b".snd", "AU"),
    (b"#!AMR", "AMR"),
    (b"NIST_1A", "NIST SPHERE"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (b"\x30\x26\xb2\x75", "ASF or WMA"),
)
_CHUNK_HEADER: Final = struct.Struct("<4sI")
_MAX_CHUNKS: Final = 256
_UNKNOWN_SIZES: Final = 0x7FFF_0000  # sizes from here up are placeholders of writers that could not seek back
_OGG_SEGMENTS_AT: Final = 26
_MAX_OGG_PAGE: Final = 27 + 255 + 255 * 255
_FLV_SIZE: Final = b"filesize\x00"  # the name and the type of a number
_DOUBLE: Final = struct.Struct(">d")
_OGG_BEGINS_STREAM: Final = 0x02
_MAX_OGG_LINKS: Final = 10_000
_SEARCH_BYTES: Final = 64 * 1024
_AVI_HEAD_BYTES: Final = 52
_MIN_BOX_BYTES: Final = 8
_TEXT: Final = bytes(range(0x20, 0x100)) + b"\t\r\n\f"


class Source(Protocol):
    """A readable, seekable file without a name. FFmpeg would guess the container from a name."""

    def read(self, n_bytes: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


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


def container_by_signature(head: bytes) -> str | None:
    """Return the name of the audio container whose signature `head` begins with."""
    if head[4:8] == b"ftyp":
        return "MP4"
    return next((name for magic, name in _AUDIO if head.startswith(magic)), None)


def describe(head: bytes) -> str:
    """Return what a file without audio looks like, as a noun phrase."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, name in _NOT_AUDIO:
        if head.startswith(magic) or text.startswith(magic.lower()):
            return name
    if b"<mpd" in text:
        return "a DASH manifest"
    if not any(head):
        return "nothing but zero bytes"
    if _is_text(head):
        return "text"
    return "data without a known header, such as raw samples"


def wav_header_duration_s(source: Source) -> float | None:
    """Return the duration that a RIFF header declares, or None if it declares none. Moves the position."""
    source.seek(12)
    bytes_per_s = 0
    for _ in range(_MAX_CHUNKS):
        header = source.read(_CHUNK_HEADER.size)
        if len(header) < _CHUNK_HEADER.size:
            return None
        name, size = _CHUNK_HEADER.unpack(header)
        if name == b"data":
            return size / bytes_per_s if bytes_per_s and size < _UNKNOWN_SIZES else None
        start = source.tell()
        if name == b"fmt ":
            bytes_per_s = int.from_bytes(source.read(12)[8:12], "little")
        source.seek(start + size + size % 2)
    return None


def avi_header_duration_s(source: Source) -> float | None:
    """Return the duration that an AVI header declares, if the file is shorter than its header says. Moves the position.

    FFmpeg reduces the duration of a truncated AVI file to what is there.
    """
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(_AVI_HEAD_BYTES)
    if len(head) < _AVI_HEAD_BYTES or head[24:28] != b"avih" or int.from_bytes(head[4:8], "little") + 8 <= size:
        return None
    us_per_frame, n_frames = int.from_bytes(head[32:36], "little"), int.from_bytes(head[48:52], "little")
    return us_per_frame * n_frames / 1e6 or None


def is_flv_truncated(source: Source) -> bool:
    """Return whether an FLV file is shorter than its metadata declares. Moves the position."""
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(HEAD_BYTES)
    at = head.find(_FLV_SIZE) + len(_FLV_SIZE)
    if at < len(_FLV_SIZE) or len(head) < at + _DOUBLE.size:
        return False
    declared: float = _DOUBLE.unpack_from(head, at)[0]
    return declared > size


def ogg_links(source: Source) -> list[tuple[int, int]]:
    """Return start and end of each link of an OGG file. Moves the position.

    Links are recordings that were joined: each begins with pages that are marked as the beginning of a stream. RFC
    3533, sections 4 and 6. A file without a valid first page is one link.
    """
    size = source.seek(0, 2)
    starts, at, in_header = [0], 0, True
    while len(starts) < _MAX_OGG_LINKS:
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
    return list(zip(starts, [*starts[1:], size], strict=True))


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


def following_recording(source: Source) -> str | None:
    """Return the name of the container that follows after the end of a WAV, AIFF or MP4 file. Moves the position."""
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(12)
    if head[4:8] == b"ftyp":
        return _following_mp4(source, size)
    if head[:4] not in (b"RIFF", b"FORM") or head[8:12] == b"AVI ":  # large AVI files have more than one RIFF chunk
        return None
    n_bytes = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
    source.seek(8 + n_bytes + n_bytes % 2)
    return container_by_signature(source.read(12))


def _following_mp4(source: Source, size: int) -> str | None:
    at, seen_index = 0, False
    for _ in range(_MAX_CHUNKS):
        source.seek(at)
        header = source.read(16)
        n_bytes, name = int.from_bytes(header[:4], "big"), header[4:8]
        if name == b"ftyp" and seen_index:
            return "MP4"
        seen_index = seen_index or name == b"moov"
        n_bytes = int.from_bytes(header[8:], "big") if n_bytes == 1 else n_bytes
        at += n_bytes
        if n_bytes < _MIN_BOX_BYTES or at >= size:
            return None
    return None


def is_ogg_truncated(source: Source) -> bool:
    """Return whether the last page of an OGG file extends past the file's end. Moves the position.

    RFC 3533, section 6, describes pages.
    """
    size = source.seek(0, 2)
    source.seek(max(0, size - _MAX_OGG_PAGE))
    tail = source.read(_MAX_OGG_PAGE)
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) - at <= _OGG_SEGMENTS_AT:
        return at >= 0
    n_segments = tail[at + _OGG_SEGMENTS_AT]
    body = at + _OGG_SEGMENTS_AT + 1 + n_segments
    return body + sum(tail[body - n_segments : body]) > len(tail)


def _is_text(head: bytes) -> bool:
    odd = len(head.translate(None, _TEXT))
    return odd < 0.03 * len(head) and b"\x00" not in head
