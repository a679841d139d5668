"""Reads the header of an AC-3 or E-AC-3 frame."""

from typing import Final

_HEADER_BYTES: Final = 6
_SYNC: Final = b"\x0b\x77"
_KBITS: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_RATES: Final = (48_000, 44_100, 32_000)
_SAMPLES: Final = 1536
_LAST_AC3: Final = 10
_LAST_EAC3: Final = 16
"""The last versions of each format. The newer one declares the size of each frame."""


def frame_bytes(header: bytes) -> int | None:
    """Return the size of a frame, or None if `header` begins none. ETSI TS 102 366, sections 4.4 and E.1.3."""
    if len(header) < _HEADER_BYTES or not header.startswith(_SYNC):
        return None
    version, rate, size = header[5] >> 3, header[4] >> 6, header[4] & 0x3F
    if _LAST_AC3 < version <= _LAST_EAC3:
        return 2 * ((header[2] & 0x07) << 8 | header[3]) + 2
    if version > _LAST_EAC3 or rate == len(_RATES) or size >> 1 >= len(_KBITS):
        return None
    is_odd = size & 1 if _RATES[rate] == 44_100 else 0  # noqa: PLR2004 - frames of this rate have two sizes
    return 2 * (_KBITS[size >> 1] * 1000 * _SAMPLES // _RATES[rate] // 16 + is_odd)
