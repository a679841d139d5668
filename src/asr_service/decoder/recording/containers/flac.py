"""Reads the header of a FLAC frame."""

from typing import Final

FRAME_HEADER_BYTES: Final = 13
_SYNC: Final = (b"\xff\xf8", b"\xff\xf9")  # of frames that have all the same size, and of others


def frame_start(frame: bytes, block_samples: int) -> int | None:
    """Return the number of a FLAC frame's first sample in its stream, or None if this is no frame.

    A frame has the number of its sample or, if all have `block_samples`, its own. Numbers are coded as UTF-8 codes a
    character. RFC 9639, section 9.1.
    """
    if frame[:2] not in _SYNC or len(frame) < FRAME_HEADER_BYTES:
        return None
    first = frame[4]
    n_bytes = max(8 - (first ^ 0xFF).bit_length(), 1)
    number = first & (0x7F if n_bytes == 1 else 0x7F >> n_bytes)
    for byte in frame[5 : 4 + n_bytes]:
        number = number << 6 | byte & 0x3F
    return number * (block_samples if frame[:2] == _SYNC[0] else 1)
