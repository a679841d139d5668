"""Reads the header of a LOAS frame: AAC as in broadcasts."""

from typing import Final

_HEADER_BYTES: Final = 3
_SYNC: Final = 0x2B7


def frame_bytes(header: bytes) -> int | None:
    """Return the size of a frame, or None if `header` begins none. ISO/IEC 14496-3, section 1.7.2."""
    number = int.from_bytes(header[:_HEADER_BYTES], "big")
    if len(header) < _HEADER_BYTES or number >> 13 != _SYNC:
        return None
    return _HEADER_BYTES + (number & 0x1FFF)
