"""Compares the size of a file with the one that its header declares: whether its end is missing."""

from collections.abc import Callable
from typing import Final

from asr_service.decoder.recording.containers.riff import PLACEHOLDER
from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_HEAD_BYTES: Final = 12
_UNKNOWN: Final = 0xFFFF_FFFF


def _aiff_bytes(head: bytes) -> int:
    return 8 + int.from_bytes(head[4:8], "big")


def _au_bytes(head: bytes) -> int:
    n_bytes = int.from_bytes(head[8:12], "big")
    return 0 if n_bytes == _UNKNOWN else int.from_bytes(head[4:8], "big") + n_bytes


def _riff_bytes(head: bytes) -> int:
    n_bytes = int.from_bytes(head[4:8], "little")
    return 0 if n_bytes >= PLACEHOLDER else 8 + n_bytes


_DECLARED_BYTES: Final[dict[str, Callable[[bytes], int]]] = {
    "aiff": _aiff_bytes,
    "au": _au_bytes,
    "avi": _riff_bytes,
}
"""By FFmpeg's name of the container. 0 if nothing is declared."""


def is_shorter_than_declared(source: Source, kind: str) -> bool:
    """Return whether bytes are missing at the end. `kind` is FFmpeg's name of the container. Moves the position."""
    declared_bytes = _DECLARED_BYTES.get(kind)
    return declared_bytes is not None and declared_bytes(read_at(source, 0, _HEAD_BYTES)) > size_of(source)
