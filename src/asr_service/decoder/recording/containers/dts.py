"""Reads the header of a DTS frame."""

from typing import Final

_HEADER_BYTES: Final = 8
_SYNC: Final = b"\x7f\xfe\x80\x01"
_MIN_BYTES: Final = 96


def frame_bytes(header: bytes) -> int | None:
    """Return the size of a frame, or None if `header` begins none. ETSI TS 102 114, section 5.3."""
    if len(header) < _HEADER_BYTES or not header.startswith(_SYNC):
        return None
    n_bytes = ((int.from_bytes(header[5:8], "big") >> 4) & 0x3FFF) + 1
    return n_bytes if n_bytes >= _MIN_BYTES else None
