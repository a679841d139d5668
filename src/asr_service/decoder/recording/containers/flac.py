"""Finds the first frame of a FLAC file."""

from typing import Final

from asr_service.decoder.recording.containers.mpeg_audio import ID3_HEADER_BYTES, id3_bytes
from asr_service.decoder.recording.containers.source import Source, read_at

_SYNC: Final = (b"\xff\xf8", b"\xff\xf9")  # of frames that have all the same size, and of others
_MARK_BYTES: Final = 4
_BLOCK_HEADER_BYTES: Final = 4
_IS_LAST: Final = 0x80
_MAX_BLOCKS: Final = 256


def begins_frame(data: bytes) -> bool:
    """Return whether data begins with the mark of a frame. RFC 9639, section 9.1."""
    return data.startswith(_SYNC)


def audio_start(source: Source) -> int:
    """Return the position of the first frame, behind the metadata. Keeps the position, as FFmpeg needs it.

    RFC 9639, section 8.
    """
    position = source.tell()
    at = id3_bytes(read_at(source, 0, ID3_HEADER_BYTES)) + _MARK_BYTES
    for _ in range(_MAX_BLOCKS):
        header = read_at(source, at, _BLOCK_HEADER_BYTES)
        at += _BLOCK_HEADER_BYTES + int.from_bytes(header[1:], "big")
        if not header or header[0] & _IS_LAST:
            break
    source.seek(position)
    return at
