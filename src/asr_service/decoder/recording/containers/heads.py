"""The heads of recordings, complete enough to be found within a file. `signatures` has only their first bytes."""

import re
from typing import Final

FLAC_HEAD: Final = rb"fLaC[\x00\x80]\x00\x00\x22"
AU_HEAD: Final = rb"\.snd\x00\x00[\x00-\x04].{5}\x00\x00\x00[\x01-\x1b]"
SPHERE_HEAD: Final = rb"NIST_1A\n *[0-9]+\n"
AMR_HEAD: Final = rb"#!AMR(?:-WB)?\n"
TAGGED_MP3: Final = "MP3"
BOXED: Final = "MP4"
BOX_SIZE_BYTES: Final = 4
"""The head of MP4 is the type of its first box, which is behind its size."""
_FIRST_BLOCK: Final = b"[%b]" % b"".join(rb"\x%02x-\x%02x" % (byte, byte + 7) for byte in range(0x08, 0x100, 0x10))
"""Bit 11 of the flags of a WavPack block, which only the first of the blocks at one time has set."""
_HEADS: Final = (
    ("WAV or AVI", rb"RIFF.{4}(?:WAVE|AVI LIST)"),
    ("WAV", rb"RF64.{4}WAVE"),
    ("WAV", rb"BW64.{4}WAVE"),
    ("W64", rb"riff\x2e\x91\xcf\x11"),
    ("FLAC", FLAC_HEAD),
    ("OGG", rb"OggS\x00\x02"),
    ("AIFF", rb"FORM.{4}AIF[FC]"),
    ("CAF", rb"caff\x00\x01\x00\x00desc"),
    ("AU", AU_HEAD),
    ("AMR", AMR_HEAD),
    ("NIST SPHERE", SPHERE_HEAD),
    ("Matroska or WebM", rb"\x1a\x45\xdf\xa3.{5,40}(?:webm|matroska)"),
    ("ASF or WMA", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    (BOXED, rb"ftyp(?:iso|mp4|M4A|M4V|M4B|qt  |3g[gp2]|avc|dash|MSNV|f4v|mmp4)"),
    ("FLV", rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09"),
    ("TTA", rb"TTA1[\x01-\x03]\x00"),
    ("VOC", rb"Creative Voice File\x1a"),
    ("WavPack", rb"wvpk.{4}[\x02-\x10]\x04.\x00.{4}\x00{4}.{5}" + _FIRST_BLOCK),
    ("Musepack", rb"MPCKSH"),
    ("Musepack", rb"MP\+[\x07\x17]"),
    ("Monkey's Audio", rb"MAC .\x0f"),
    ("TAK", rb"tBaK"),
    ("MPEG-PS", rb"\x00\x00\x01\xba[\x21-\x7f](?:.{7}|.{9})\xff{0,7}\x00\x00\x01[\xb9-\xff]"),
    ("MPEG-TS", rb"(?:\x47[\x00-\x7f].[\x10-\x3f].{184}){8}"),
    (TAGGED_MP3, rb"ID3[\x02-\x04]\x00[\x00-\xf0][\x00-\x7f]{4}"),
)
REPEATED: Final = {"mpegts": "MPEG-TS", "mpeg": "MPEG-PS"}
"""FFmpeg's names of the containers whose head occurs all through a recording, and their names here."""
HEADS: Final = tuple((name, re.compile(pattern, re.DOTALL)) for name, pattern in _HEADS)
"""Name of the container and its head. Each begins with a literal, which `re` finds quickly: one pattern of all takes
thirty times as long."""
