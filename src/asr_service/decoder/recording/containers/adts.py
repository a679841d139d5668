"""Reads the header of an ADTS frame: AAC without a container."""

from typing import Final

HEADER_BYTES: Final = 7
_N_RATES: Final = 13


def frame_bytes(header: bytes) -> int | None:
    """Return the size of a frame, or None if `header` begins none. ISO/IEC 13818-7, section 6.2."""
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:  # noqa: PLR2004 - the sync word
        return None
    n_bytes = (header[3] & 0x03) << 11 | header[4] << 3 | header[5] >> 5
    return n_bytes if header[2] >> 2 & 0x0F < _N_RATES and n_bytes > HEADER_BYTES else None
