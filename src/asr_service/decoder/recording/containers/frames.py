"""Finds audio without a container within a file: AAC (ADTS, LOAS), MPEG audio, AC-3 and DTS.

It consists of frames and has no head.
"""

import itertools
import re
from collections.abc import Callable
from typing import Final

from asr_service.decoder.recording.containers import ac3, adts, dts, loas, mpeg_audio
from asr_service.decoder.recording.containers.source import Source, read_at

_FRAMES: Final[dict[str, tuple[re.Pattern[bytes], Callable[[bytes], int | None]]]] = {
    "AAC": (re.compile(rb"\xff[\xf0\xf1\xf8\xf9][^\xff]"), adts.frame_bytes),
    "MP3": (re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]"), mpeg_audio.frame_bytes),
    "AC-3": (re.compile(rb"\x0b\x77"), ac3.frame_bytes),
    "DTS": (re.compile(rb"\x7f\xfe\x80\x01"), dts.frame_bytes),
    "AAC (LOAS)": (re.compile(rb"\x56[\xe0-\xff]"), loas.frame_bytes),
}
"""How a frame begins, and the function that returns its size, by the name of the format."""
_HEADER_BYTES: Final = 8
_MIN_FRAMES: Final = 8
"""So many frames in a row are no accident."""
_MAX_TRIES: Final = 10_000
_MAX_SEARCHED_BYTES: Final = 16 * 1024 * 1024


def frames_behind(source: Source, at: int, last_packet: bytes) -> str | None:
    """Return the name of the format of which several frames follow each other behind position `at`.

    Frames of the type of `last_packet`, which is at this position, belong to the recording. Moves the position.
    """
    found = first_frames(read_at(source, at + 1, _MAX_SEARCHED_BYTES), last_packet)
    return None if found is None else found[0]


def first_frames(data: bytes, last_packet: bytes = b"") -> tuple[str, int] | None:
    """Return the name of the format of which several frames follow each other, and where they begin.

    Frames of the type of `last_packet` do not count.
    """
    for name, (beginning, frame_bytes) in _FRAMES.items():
        if frame_bytes(last_packet[:_HEADER_BYTES]) is None:
            for match in itertools.islice(beginning.finditer(data), _MAX_TRIES):
                if _begins_frames(data, match.start(), frame_bytes):
                    return name, match.start()
    return None


def _begins_frames(data: bytes, at: int, frame_bytes: Callable[[bytes], int | None]) -> bool:
    for _ in range(_MIN_FRAMES):
        n_bytes = frame_bytes(data[at : at + _HEADER_BYTES])
        if not n_bytes:
            return False
        at += n_bytes
    return True
