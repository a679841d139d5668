"""Reads the duration that a WAV header declares."""

from asr_service.decoder.recording.containers.riff import PLACEHOLDER, riff_chunks
from asr_service.decoder.recording.containers.source import Source


def declared_duration_s(source: Source) -> float | None:
    """Return the duration that a RIFF header declares, or None if it declares none. Moves the position."""
    bytes_per_s = 0
    for chunk in riff_chunks(source):
        if chunk.name == b"data":
            return chunk.n_bytes / bytes_per_s if bytes_per_s and chunk.n_bytes < PLACEHOLDER else None
        if chunk.name == b"fmt ":
            bytes_per_s = int.from_bytes(chunk.head[16:20], "little")
    return None
