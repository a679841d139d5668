"""Reads the duration that a CAF header declares."""

import math
import struct
from typing import Final

from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_FIRST_CHUNK: Final = 8
_CHUNK_HEADER: Final = struct.Struct(">4sq")
_DESCRIPTION: Final = struct.Struct(">d8xII")  # rate, bytes and frames of a packet
_EDIT_COUNT_BYTES: Final = 4
_MAX_CHUNKS: Final = 256


def declared_duration_s(source: Source) -> float | None:
    """Return the duration that a CAF header declares, if its audio extends past the file's end. Moves the position.

    None for a recording with packets of different sizes. FFmpeg estimates the duration from the bit rate, and so from
    what is there. Apple Core Audio Format Specification 1.0.
    """
    size = size_of(source)
    at, bytes_per_s = _FIRST_CHUNK, 0.0
    for _ in range(_MAX_CHUNKS):
        header = read_at(source, at, _CHUNK_HEADER.size)
        if len(header) < _CHUNK_HEADER.size:
            return None
        name, n_bytes = _CHUNK_HEADER.unpack(header)
        body_at = at + len(header)
        at = body_at + n_bytes
        if name == b"data":  # its size is -1 if the writer could not seek back
            return (n_bytes - _EDIT_COUNT_BYTES) / bytes_per_s if bytes_per_s and at > size else None
        if not 0 <= n_bytes <= size:
            return None
        if name == b"desc":
            bytes_per_s = _bytes_per_s(read_at(source, body_at, _DESCRIPTION.size))
    return None


def _bytes_per_s(description: bytes) -> float:
    """Return the byte rate, or 0 if packets have different sizes or the description is invalid."""
    if len(description) < _DESCRIPTION.size:
        return 0.0
    rate, bytes_per_packet, frames_per_packet = _DESCRIPTION.unpack(description)
    is_known = frames_per_packet and 1 <= rate < math.inf
    return float(rate * bytes_per_packet / frames_per_packet) if is_known else 0.0
