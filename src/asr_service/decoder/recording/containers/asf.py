"""Reads the duration that an ASF header declares (WMA, WMV)."""

import struct
from typing import Final

from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_HEAD_BYTES: Final = 4096
_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_FIELDS: Final = struct.Struct("<QQQQQQI")  # file size, date, packets, duration, sending, preroll, flags
_FIELDS_AT: Final = 40
_BROADCAST: Final = 1  # the flag of a live stream, which declares nothing


def declared_duration_s(source: Source) -> float | None:
    """Return the duration that an ASF header declares, if the file is shorter than its header says. Moves the position.

    FFmpeg ignores the header then. The fields: ASF specification, section 3.2.
    """
    size = size_of(source)
    head = read_at(source, 0, _HEAD_BYTES)
    found = head.find(_PROPERTIES)
    if found < 0 or len(head) < found + _FIELDS_AT + _FIELDS.size:
        return None
    n_bytes, _, _, duration, _, preroll_ms, flags = _FIELDS.unpack_from(head, found + _FIELDS_AT)
    if flags & _BROADCAST or n_bytes <= size:
        return None
    return max(duration / 1e7 - preroll_ms / 1e3, 0) or None
