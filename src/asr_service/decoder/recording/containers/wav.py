"""Reads the duration that a WAV header declares."""

from typing import Final

from asr_service.decoder.recording.containers.riff import riff_chunks
from asr_service.decoder.recording.containers.source import Source

_UNKNOWN_SIZES: Final = 0x7FFF_0000  # sizes from here up are placeholders of writers that could not seek back


def declared_duration_s(source: Source) -> float | None:
    """Return the duration that a RIFF header declares, or None if it declares none. Moves the position."""
    bytes_per_s = 0
    for chunk in riff_chunks(source):
        if chunk.name == b"data":
            return chunk.n_bytes / bytes_per_s if bytes_per_s and chunk.n_bytes < _UNKNOWN_SIZES else None
        if chunk.name == b"fmt ":
            bytes_per_s = int.from_bytes(chunk.head[16:20], "little")
    return None
