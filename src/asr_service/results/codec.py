"""The compressed form of a transcript in the store."""

import zlib

from asr_service.transcript import Transcript, codec


class ResultUnreadable(ValueError):
    """The stored bytes are not a transcript that this version can read."""


def compress(transcript: Transcript) -> bytes:
    return zlib.compress(codec.encode(transcript).encode())


def decompress(data: bytes) -> Transcript:
    """Return the transcript that was compressed. Raises ResultUnreadable: the data is damaged."""
    try:
        return codec.decode(zlib.decompress(data))  # zlib has a checksum
    except (zlib.error, codec.TranscriptUnreadable) as error:
        raise ResultUnreadable(str(error)) from error
