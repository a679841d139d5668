"""Finds audio without a container within a file: AAC (ADTS), MPEG audio and AC-3, which are frames and have no head."""

import itertools
import re
from collections.abc import Callable
from typing import Final

from asr_service.decoder.recording.containers import ac3, adts, mpeg_audio
from asr_service.decoder.recording.containers.source import Source, read_at

_FRAMES: Final[dict[str, tuple[re.Pattern[bytes], Callable[[bytes], int | None]]]] = {
    "AAC": (re.compile(rb"\xff[\xf0\xf1\xf8\xf9][^\xff]"), adts.frame_bytes),
    "MP3": (re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]"), mpeg_audio.frame_bytes),
    "AC-3": (re.compile(rb"\x0b\x77"), ac3.frame_bytes),
}
"""How a frame begins, and the function that returns its size, by the name of the format."""
_HEADER_BYTES: Final = 7
_MIN_FRAMES: Final = 8
"""So many frames in a row are no accident."""
_MAX_TRIES: Final = 10_000
_MAX_SEARCHED_BYTES: Final = 16 * 1024 * 1024


def frames_behind(source: Source, at: int, last_packet: bytes) -> str | None:
    """Return the name of the format of which several frames follow each other behind position `at`.

    Frames of the type of `last_packet`, which is at this position, belong to the recording. Moves the position.
    """
    data = read_at(source, at + 1, _MAX_SEARCHED_BYTES)
    for name, (beginning, frame_bytes) in _FRAMES.items():
        if frame_bytes(last_packet[:_HEADER_BYTES]) is None:
            for match in itertools.islice(beginning.finditer(data), _MAX_TRIES):
                if _begins_frames(data, match.start(), frame_bytes):
                    return name
    return None


def _begins_frames(data: bytes, at: int, frame_bytes: Callable[[bytes], int | None]) -> bool:
    for _ in range(_MIN_FRAMES):
        n_bytes = frame_bytes(data[at : at + _HEADER_BYTES])
        if not n_bytes:
            return False
        at += n_bytes
    return True
