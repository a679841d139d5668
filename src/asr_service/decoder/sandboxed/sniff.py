"""Reads signatures and headers: what a file looks like, the duration in a WAV header, a truncated OGG file.

Error messages and warnings use this. It does not decide what is decoded: FFmpeg probes the allowed containers for that.
"""

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
_TEXT: Final = bytes(range(0x20, 0x100)) + b"\t\r\n\f"


class Source(Protocol):
    """A readable, seekable file without a name. FFmpeg would guess the container from a name."""

    def read(self, n_bytes: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


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
