"""Finds the sound of a WAV file whose chunks before it have wrong sizes, which FFmpeg refuses.

Some writers leave out the byte that must follow a chunk of an odd size, or count the header of a chunk in its size.
"""

import re
import struct
from typing import Final

from asr_service.decoder.recording.containers.riff import CHUNK_HEADER_BYTES, PLACEHOLDER, riff_chunks
from asr_service.decoder.recording.containers.source import Assembled, Source, read_at, size_of

_SEARCHED_BYTES: Final = 1024 * 1024
_FORMAT: Final = re.compile(rb"fmt [\x10-\x40]\x00\x00\x00", re.DOTALL)


def with_head(source: Source) -> Source:
    """Return the WAV file with a simple header if the sizes of its chunks do not lead to the sound.

    Returns every other file itself. Moves the position.
    """
    head = read_at(source, 0, 12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE" or any(chunk.name == b"data" for chunk in riff_chunks(source)):
        return source
    searched, size = read_at(source, 0, _SEARCHED_BYTES), size_of(source)
    form = _FORMAT.search(searched)
    data_at = -1 if form is None else _sound_at(searched, form.end(), size)
    if form is None or data_at < 0:
        return source
    chunk = searched[form.start() : min(form.end() + searched[form.start() + 4], data_at)]
    chunk = chunk[:4] + struct.pack("<I", len(chunk) - CHUNK_HEADER_BYTES) + chunk[CHUNK_HEADER_BYTES:]
    body_at = data_at + CHUNK_HEADER_BYTES
    return Assembled(head + chunk + searched[data_at:body_at], source, [(body_at, size)])


def _sound_at(data: bytes, start: int, file_bytes: int) -> int:
    """Return the position of the chunk of samples, or -1.

    Texts contain its name too. So its size must be a placeholder, or most of the file's true or declared size.
    """
    declared = int.from_bytes(data[4:8], "little")
    at = data.find(b"data", start)
    while at >= 0:
        n_bytes = int.from_bytes(data[at + 4 : at + CHUNK_HEADER_BYTES], "little")
        n_left = file_bytes - at - CHUNK_HEADER_BYTES
        if n_bytes >= PLACEHOLDER or any(n / 2 <= n_bytes <= n for n in (n_left, declared)):
            return at
        at = data.find(b"data", at + 1)
    return -1
