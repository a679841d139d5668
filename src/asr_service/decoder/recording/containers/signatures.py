"""Reads signatures: what a file looks like.

Error messages use this. It does not decide what is decoded: FFmpeg probes the allowed containers for that.
"""

from typing import Final

from asr_service.decoder.recording.containers.mpeg_audio import ID3

HEAD_BYTES: Final = 4096
ASF: Final = b"\x30\x26\xb2\x75"
EBML: Final = b"\x1a\x45\xdf\xa3"

UNKNOWN: Final = "data without a known header, such as raw samples"
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
    (b"\x1f\x43\xb6\x75", "a piece of a WebM recording without its beginning"),
    (b"MThd", "a MIDI file, which contains notes and no sound"),
)
_AUDIO: Final = (
    (b"RIFF", "WAV or AVI"),
    (b"RF64", "WAV"),
    (b"riff", "W64"),
    (b"fLaC", "FLAC"),
    (b"OggS", "OGG"),
    (ID3, "MP3"),
    (b"FORM", "AIFF"),
    (b"caff", "CAF"),
    (b".snd", "AU"),
    (b"#!AMR", "AMR"),
    (b"NIST_1A", "NIST SPHERE"),
    (b"FLV\x01", "FLV"),
    (b"TTA1", "TTA"),
    (b"Creative Voice File", "VOC"),
    (b"wvpk", "WavPack"),
    (b"MPCK", "Musepack"),
    (b"MP+", "Musepack"),
    (b"MAC ", "Monkey's Audio"),
    (b"tBaK", "TAK"),
    (EBML, "Matroska or WebM"),
    (ASF, "ASF or WMA"),
)
_MP4_PIECES: Final = frozenset({b"moof", b"styp", b"sidx", b"mdat"})
"""Boxes of an MP4 stream with which its later pieces begin. The first piece describes the audio."""
_HIGH: Final = bytes(range(0x80, 0x100))
_TEXT: Final = bytes(range(0x20, 0x100)) + b"\t\r\n\f"


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
    if head[4:8] in _MP4_PIECES:
        return "a piece of an MP4 recording without its beginning"
    if b"<mpd" in text:
        return "a DASH manifest"
    if not any(head):
        return "nothing but zero bytes"
    if _is_text(head):
        return "text"
    return UNKNOWN


def _is_text(head: bytes) -> bool:
    n_odd = len(head.translate(None, _TEXT))
    n_high = len(head) - len(head.translate(None, _HIGH))
    is_utf8 = "\ufffd" not in head.decode(errors="replace")[:-1]  # the last letter may be cut
    return n_odd < 0.03 * len(head) and b"\x00" not in head and (is_utf8 or n_high < 0.3 * len(head))
