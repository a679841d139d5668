"""Reads GSM 06.10: frames of one size without a header."""

from typing import Final

from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_FRAME_BYTES: Final = 33
_MARK: Final = 0xD
"""The first four bits of each frame."""
_MIN_FRAMES: Final = 8


def begins(source: Source) -> bool:
    """Return whether the file begins with several frames. Moves the position."""
    marks = read_at(source, 0, _MIN_FRAMES * _FRAME_BYTES)[::_FRAME_BYTES]
    return len(marks) == _MIN_FRAMES and all(mark >> 4 == _MARK for mark in marks)


def is_truncated(source: Source) -> bool:
    """Return whether the file ends within a frame. Moves the position."""
    return bool(size_of(source) % _FRAME_BYTES)
