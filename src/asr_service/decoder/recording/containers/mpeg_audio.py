"""Reads the headers of MPEG audio: its frames (MP1, MP2, MP3) and the ID3 tags around them."""

from typing import Final

ID3: Final = b"ID3"
ID3_HEADER_BYTES: Final = 10
_KBITS: Final = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of MPEG-1 and the later versions, by the layer's code: 3 is layer I."""
_RATES: Final = (44_100, 48_000, 32_000)
_HEADER_BYTES: Final = 4
_MPEG_1: Final = 3
_RATE_SHIFTS: Final = {_MPEG_1: 0, 2: 1, 0: 2}  # by the version's code: MPEG-1, 2 and 2.5
_LAYER_I: Final = 3
_LAYER_III: Final = 1
_RESERVED_BIT_RATE: Final = 15


def frame_bytes(header: bytes) -> int | None:
    """Return the size of a frame, or None if `header` begins none.

    0 if the header does not declare it (free format). ISO/IEC 11172-3, section 2.4.1.3, and 13818-3 for lower rates.
    """
    if len(header) < _HEADER_BYTES or not begins_frame(header):
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in _RATE_SHIFTS or not layer or bit_rate == _RESERVED_BIT_RATE or rate == len(_RATES):
        return None
    if not bit_rate:
        return 0
    is_mpeg1 = version == _MPEG_1
    bits = 1000 * _KBITS[_MPEG_1 if is_mpeg1 else 2, layer][bit_rate - 1]
    hz = _RATES[rate] >> _RATE_SHIFTS[version]
    if layer == _LAYER_I:
        return (12 * bits // hz + padding) * 4
    return (72 if layer == _LAYER_III and not is_mpeg1 else 144) * bits // hz + padding


def begins_frame(data: bytes) -> bool:
    """Return whether data begins with the eleven bits with which each frame begins."""
    return data[:1] == b"\xff" and data[1:2] >= b"\xe0"


def id3_bytes(header: bytes) -> int:
    """Return the size of an ID3 tag with its header, or 0 if `header` begins none. Each byte of it has seven bits."""
    if not header.startswith(ID3):
        return 0
    return ID3_HEADER_BYTES + sum(byte << 7 * i for i, byte in enumerate(reversed(header[6:ID3_HEADER_BYTES])))
