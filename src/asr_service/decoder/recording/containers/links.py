"""Finds the links of a file: recordings of one type that were joined, and that are decoded one after the other."""

import re
from typing import Final

from asr_service.decoder.recording.containers import ogg
from asr_service.decoder.recording.containers.heads import AMR_HEAD, AU_HEAD, FLAC_HEAD, SPHERE_HEAD
from asr_service.decoder.recording.containers.mpeg_audio import ID3_HEADER_BYTES, id3_bytes
from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_MAX_LINKS: Final = 10_000
_READ_BYTES: Final = 1024 * 1024
_MAX_HEAD_BYTES: Final = 32
_HEADS: Final = {
    b"fLaC": re.compile(FLAC_HEAD),
    b".snd": re.compile(AU_HEAD, re.DOTALL),
    b"NIST": re.compile(SPHERE_HEAD),
    b"#!AM": re.compile(AMR_HEAD),
    b"AVI ": re.compile(rb"RIFF.{4}AVI LIST.{4}hdrlavih", re.DOTALL),
}
"""Heads of recordings that FFmpeg takes for data of the one before them, by the type of the file."""


def links(source: Source) -> list[tuple[int, int]]:
    """Return start and end of each link of a file: of each recording that is decoded by itself. Moves the position.

    Knows OGG, FLAC, AMR, AU, SPHERE and AVI. Other files are one link.
    """
    size = size_of(source)
    first = id3_bytes(read_at(source, 0, ID3_HEADER_BYTES))
    head = read_at(source, first, 12)
    magic = head[8:] if head.startswith(b"RIFF") else head[:4]
    starts = [0]
    if magic == ogg.PAGE:
        starts = ogg.link_starts(source, _MAX_LINKS)
    elif magic in _HEADS:
        starts += _heads_after(source, first, _HEADS[magic])
    return list(zip(starts, [*starts[1:], size], strict=True))


def _heads_after(source: Source, first: int, head: re.Pattern[bytes]) -> list[int]:
    """Return the positions of the heads after the first one."""
    at, tail = first + 1, b""
    found: list[int] = []
    source.seek(at)
    while len(found) < _MAX_LINKS and (read := source.read(_READ_BYTES)):
        data = tail + read
        places = (at - len(tail) + match.start() for match in head.finditer(data))
        found += [place for place in places if not found or place > found[-1]]
        at += len(read)
        tail = data[-_MAX_HEAD_BYTES:]
    return found[:_MAX_LINKS]
