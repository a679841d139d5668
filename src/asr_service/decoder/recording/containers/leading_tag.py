"""Leaves out an ID3 tag before a container that has none at its start. FFmpeg refuses such a file."""

from typing import Final

from asr_service.decoder.recording.containers.mpeg_audio import ID3_HEADER_BYTES, id3_bytes
from asr_service.decoder.recording.containers.source import Part, Source, read_at, size_of

_MAX_TAGS: Final = 16
_HEADS: Final = (b"RIFF", b"RF64", b"BW64", b"riff", b"FORM", b"caff", b"OggS", b".snd", b"#!AMR")


def without_leading_tag(source: Source) -> Source:
    """Return what follows the tags at the start if it is such a container, or the file itself. Moves the position."""
    at = 0
    for _ in range(_MAX_TAGS):
        n_bytes = id3_bytes(read_at(source, at, ID3_HEADER_BYTES))
        if not n_bytes:
            break
        at += n_bytes
    return Part(source, at, size_of(source)) if at and read_at(source, at, 8).startswith(_HEADS) else source
