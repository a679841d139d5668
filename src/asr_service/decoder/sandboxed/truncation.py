"""Recognises files that end early, where FFmpeg does not: by the sizes that the container stores.

A file that ends exactly between two packets is not recognised if its header declares no duration: MPEG streams, AC-3,
AAC and OGG.
"""

import math
import struct
from collections.abc import Callable
from typing import Final

from asr_service.decoder.sandboxed.sniff import HEAD_BYTES, Source

_CHUNK_HEADER: Final = struct.Struct("<4sI")
_MAX_CHUNKS: Final = 256
_UNKNOWN_SIZES: Final = 0x7FFF_0000  # sizes from here up are placeholders of writers that could not seek back
_OGG_SEGMENTS_AT: Final = 26
_MAX_OGG_PAGE: Final = 27 + 255 + 255 * 255
_MPEG_KBITS: Final = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of MPEG-1 and the later versions, by the layer's code: 3 is layer I."""
_MPEG_RATES: Final = (44_100, 48_000, 32_000)
_MPEG_HEADER_BYTES: Final = 4
_MPEG_1: Final = 3
_MPEG_RATE_SHIFTS: Final = {_MPEG_1: 0, 2: 1, 0: 2}  # by the version's code: MPEG-1, 2 and 2.5
_LAYER_I: Final = 3
_LAYER_III: Final = 1
_FLV_TAGS: Final = frozenset({b"\x08", b"\x09", b"\x12"})  # audio, video, data
_FLV_TAG_BYTES: Final = 11  # the header of a tag, with which each size counts
_FLV_FIRST_TAG: Final = 13
_FLV_SIZE: Final = b"filesize\x00"  # the name and the type of a number
_DOUBLE: Final = struct.Struct(">d")
_AVI_HEADERS: Final = frozenset({b"hdrl", b"strl"})  # the lists that contain the headers of the streams
_AVI_STREAM_BYTES: Final = 44
_AVI_LENGTH: Final = struct.Struct("<IIII")  # scale, rate, start, length, of a stream's header
_CAF_CHUNK: Final = struct.Struct(">4sq")
_CAF_DESCRIPTION: Final = struct.Struct(">d8xII")  # rate, bytes and frames of a packet
_ASF_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_FIELDS: Final = struct.Struct(
    "<QQQQQQI"
)  # from offset 40: file size, date, packets, duration, sending, preroll, flags
_TS_SYNC: Final = 0x47
_TS_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
"""Size of a packet, and bytes before its first byte, which is always the same."""
_PACK: Final = b"\x00\x00\x01\xba"
_PS_TAIL_BYTES: Final = 256 * 1024
_PS_END: Final = 0xB9


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
    """Return the duration that an AVI header declares for its audio, if the file is shorter than its header says.

    FFmpeg reduces the duration of a truncated AVI file to what is there. Moves the position.
    """
    size = source.seek(0, 2)
    source.seek(0)
    if int.from_bytes(source.read(8)[4:], "little") + 8 <= size:
        return None
    longest_s, at = 0.0, 12
    for _ in range(_MAX_CHUNKS):
        source.seek(at)
        chunk = source.read(_AVI_STREAM_BYTES)
        if len(chunk) < _AVI_STREAM_BYTES:
            break
        name, n_bytes, kind = chunk[:4], int.from_bytes(chunk[4:8], "little"), chunk[8:12]
        if name == b"strh" and kind == b"auds":
            scale, rate, _, length = _AVI_LENGTH.unpack_from(chunk, 28)
            longest_s = max(longest_s, length * scale / rate if rate else 0.0)
        at += 12 if name == b"LIST" and kind in _AVI_HEADERS else 8 + n_bytes + n_bytes % 2
    return longest_s or None


def caf_header_duration_s(source: Source) -> float | None:
    """Return the duration that a CAF header declares, if its audio extends past the file's end. Moves the position.

    None for a recording with packets of different sizes. FFmpeg estimates the duration from the bit rate, and so from
    what is there. Apple Core Audio Format Specification 1.0.
    """
    size = source.seek(0, 2)
    at, bytes_per_s = 8, 0.0
    for _ in range(_MAX_CHUNKS):
        source.seek(at)
        header = source.read(_CAF_CHUNK.size)
        if len(header) < _CAF_CHUNK.size:
            return None
        name, n_bytes = _CAF_CHUNK.unpack(header)
        at += len(header) + n_bytes
        if name == b"data":  # its size includes a count of four bytes, and is -1 if the writer could not seek back
            return (n_bytes - 4) / bytes_per_s if bytes_per_s and at > size else None
        if not 0 <= n_bytes <= size:
            return None
        description = source.read(_CAF_DESCRIPTION.size) if name == b"desc" else b""
        if len(description) == _CAF_DESCRIPTION.size:
            rate, bytes_per_packet, frames_per_packet = _CAF_DESCRIPTION.unpack(description)
            is_known = frames_per_packet and 1 <= rate < math.inf
            bytes_per_s = rate * bytes_per_packet / frames_per_packet if is_known else 0.0
    return None


def asf_header_duration_s(source: Source) -> float | None:
    """Return the duration that an ASF header declares, if the file is shorter than its header says. Moves the position.

    FFmpeg ignores the header then. The fields: ASF specification, section 3.2.
    """
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(HEAD_BYTES)
    at = head.find(_ASF_PROPERTIES) + 40
    if at < 40 or len(head) < at + _ASF_FIELDS.size:  # noqa: PLR2004
        return None
    declared, _, _, duration, _, preroll_ms, flags = _ASF_FIELDS.unpack_from(head, at)
    is_broadcast = flags & 1
    return None if is_broadcast or declared <= size else max(duration / 1e7 - preroll_ms / 1e3, 0) or None


def mpeg_frame_bytes(header: bytes) -> int | None:
    """Return the size of a frame of MPEG audio (MP1, MP2, MP3), or None if `header` begins none.

    0 if the header does not declare it (free format). ISO/IEC 11172-3, section 2.4.1.3, and 13818-3 for lower rates.
    """
    if len(header) < _MPEG_HEADER_BYTES or header[0] != 0xFF or header[1] < 0xE0:  # noqa: PLR2004
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in _MPEG_RATE_SHIFTS or not layer or bit_rate == 15 or rate == len(_MPEG_RATES):  # noqa: PLR2004
        return None
    if not bit_rate:
        return 0
    is_mpeg1 = version == _MPEG_1
    bits = 1000 * _MPEG_KBITS[_MPEG_1 if is_mpeg1 else 2, layer][bit_rate - 1]
    hz = _MPEG_RATES[rate] >> _MPEG_RATE_SHIFTS[version]
    if layer == _LAYER_I:
        return (12 * bits // hz + padding) * 4
    return (72 if layer == _LAYER_III and not is_mpeg1 else 144) * bits // hz + padding


def is_flv_truncated(source: Source) -> bool:
    """Return whether an FLV file is shorter than its metadata declares, or ends within a tag. Moves the position."""
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(HEAD_BYTES)
    at = head.find(_FLV_SIZE) + len(_FLV_SIZE)
    if at >= len(_FLV_SIZE) and len(head) >= at + _DOUBLE.size:
        declared: float = _DOUBLE.unpack_from(head, at)[0]
        if declared > size:
            return True
    first = int.from_bytes(head[14:17], "big") + _FLV_TAG_BYTES
    return _flv_tag_before(source, _FLV_FIRST_TAG + first + 4) == first and not _flv_tag_before(source, size)


def _flv_tag_before(source: Source, end: int) -> int:
    """Return the size of the tag that ends here with its size, or 0 if none does."""
    source.seek(max(end - 4, 0))
    n_bytes = int.from_bytes(source.read(4), "big")
    source.seek(max(end - 4 - n_bytes, 0))
    header = source.read(_FLV_TAG_BYTES)
    is_tag = header[:1] in _FLV_TAGS and int.from_bytes(header[1:4], "big") + _FLV_TAG_BYTES == n_bytes
    return n_bytes if is_tag else 0


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


def is_ts_truncated(source: Source) -> bool:
    """Return whether an MPEG transport stream ends within a packet. All packets have one size. Moves the position."""
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(HEAD_BYTES)
    for n_bytes, n_before in _TS_PACKETS:
        for at in range(n_before, n_bytes + n_before):
            marks = head[at::n_bytes]
            if len(marks) >= 4 and set(marks) == {_TS_SYNC}:  # noqa: PLR2004
                return bool((size - at + n_before) % n_bytes)
    return False


def is_ps_truncated(source: Source) -> bool:
    """Return whether the last packet of an MPEG program stream extends past the file's end. Moves the position."""
    size = source.seek(0, 2)
    source.seek(max(0, size - _PS_TAIL_BYTES))
    tail = source.read(_PS_TAIL_BYTES)
    at = tail.find(_PACK)
    while at >= 0:
        end = _end_of_packets(tail, at)
        if end is not None:
            return end > len(tail)
        at = tail.find(_PACK, at + 1)
    return False


def _end_of_packets(data: bytes, at: int) -> int | None:
    """Follow the packets from a pack header on. Returns where they end, or None if one of them does not begin there."""
    while at < len(data):
        header = data[at : at + 14]
        if header[:3] != _PACK[: len(header[:3])]:
            return None
        if len(header) < 14:  # noqa: PLR2004
            return at if header[3:4] == bytes([_PS_END]) else len(data) + 1
        kind = header[3]
        if kind == _PS_END:
            return len(data)
        if kind == _PACK[3]:
            is_mpeg2 = header[4] >> 6 == 1
            at += 14 + (header[13] & 7) if is_mpeg2 else 12
        elif kind > _PACK[3]:
            at += 6 + int.from_bytes(header[4:6], "big")
        else:
            return None
    return at


_IS_TRUNCATED: Final[dict[str, Callable[[Source], bool]]] = {
    "flv": is_flv_truncated,
    "mpegts": is_ts_truncated,
    "mpeg": is_ps_truncated,
}
CHECKED: Final = frozenset(_IS_TRUNCATED)
"""The containers that `is_truncated` knows, by FFmpeg's names."""
_FULL_DURATION_S: Final[dict[str, Callable[[Source], float | None]]] = {
    "avi": avi_header_duration_s,
    "caf": caf_header_duration_s,
    "asf": asf_header_duration_s,
}


def is_truncated(kind: str, source: Source) -> bool:
    """Return whether a file of this kind ends within a packet. Moves the position."""
    return kind in CHECKED and _IS_TRUNCATED[kind](source)


def full_duration_s(kind: str, source: Source) -> float | None:
    """Return the duration in the header of a file that is shorter than it declares. FFmpeg ignores it then.

    None if the file is complete, or of another kind. Moves the position.
    """
    return _FULL_DURATION_S[kind](source) if kind in _FULL_DURATION_S else None
