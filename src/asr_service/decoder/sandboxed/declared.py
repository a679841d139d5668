"""Reads what a file declares about its audio: where it ends, and in AVI where there is none."""

import re
import struct
from dataclasses import dataclass
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from asr_service.decoder.sandboxed.sniff import Source

ESTIMATED: Final = "Estimating duration from bitrate"  # libavformat/demux.c
_WITHOUT_DURATION: Final = frozenset({"mpegts", "mpeg"})  # FFmpeg reads the last timestamps, which are present
_MATROSKA: Final = "matroska,webm"
_MP4: Final = "mov,mp4,m4a,3gp,3g2,mj2"
_OPUS: Final = frozenset({"opus", "libopus"})  # FFmpeg's two decoders
_ABSOLUTE: Final = frozenset({_MATROSKA, "flv"})  # their durations count from time 0
_ASF: Final = "asf"
_AVI_HEADERS: Final = frozenset({b"hdrl", b"strl"})  # the lists that contain the headers of the streams
_AVI_CHUNK_BYTES: Final = 64  # of which everything that is looked at is a part
_AVI_STREAM: Final = struct.Struct("<IIII8xI")  # scale, rate, start, length and sample size of a stream's header
_AVI_ENTRY: Final = struct.Struct("<4sIII")  # name, flags, position and size of a chunk
_MAX_AVI_CHUNKS: Final = 256
_MAX_INDEX_BYTES: Final = 32 * 1024 * 1024
_MAX_ABSENCES: Final = 10_000
_TAG: Final = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class DeclaredEnd:
    """The end that the header declares, as a place in the recording. None where it declares nothing."""

    audio_s: float | None
    """The end of the audio."""
    file_s: float | None
    """The end of the file's longest stream, which may be the video."""


def declared_end(container: InputContainer, stream: AudioStream, base_s: float, *, is_estimated: bool) -> DeclaredEnd:
    """Return where the file ends by its header.

    `base_s` is the timestamp at the start of the recording. `is_estimated`: FFmpeg estimated the durations.
    """
    kind = container.format.name
    if is_estimated or kind in _WITHOUT_DURATION:
        return DeclaredEnd(None, None)
    file_s = None if container.duration is None else container.duration / av.time_base
    if kind in _ABSOLUTE and file_s is not None:
        file_s -= base_s
    audio_s = _tagged_end_s(stream, base_s) if kind == _MATROSKA else _stream_end_s(stream, base_s, kind)
    if audio_s is None and len(container.streams) == 1:
        audio_s = file_s
    return DeclaredEnd(audio_s, file_s)


def _tagged_end_s(stream: AudioStream, base_s: float) -> float | None:
    """Return the end of a Matroska track. FFmpeg copies its `duration` from the file, which has the video's."""
    tags = (text for name, text in stream.metadata.items() if name.upper().split("-")[0] == "DURATION")
    match = _TAG.match(next(tags, ""))
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - base_s


def _stream_end_s(stream: AudioStream, base_s: float, kind: str) -> float | None:
    if stream.duration is None or stream.time_base is None:
        return None
    start = 0 if _counts_from_0(stream, kind) else stream.start_time or 0
    return float((stream.duration + start) * stream.time_base) - base_s


def _counts_from_0(stream: AudioStream, kind: str) -> bool:
    """Return whether FFmpeg's duration of the stream includes the time before its start.

    It does for ASF, Opus in OGG, and the fragments of an MP4 file without an index.
    """
    return (
        kind == _ASF or (kind == "ogg" and stream.codec_context.name in _OPUS) or (kind == _MP4 and not stream.frames)
    )


@dataclass(frozen=True, slots=True)
class Absence:
    """A time without audio."""

    before: int
    """The position in the file of the first packet after it."""
    end_s: float
    """Its end, from the start of the stream on."""
    seconds: float
    """Its longest possible duration. The packet before it may last longer than the file says."""


def avi_absences(source: Source, stream_index: int) -> list[Absence]:
    """Return where an audio stream of an AVI file has empty chunks, which last as long as others.

    FFmpeg skips them. Streams whose time is counted in bytes have none. Keeps the position, which FFmpeg relies on.
    """
    position = source.tell()
    try:
        return _empty_chunks(source, _find_index(source, stream_index))
    finally:
        source.seek(position)


@dataclass(frozen=True, slots=True)
class _Index:
    """The index of an AVI file, and what it says of one stream."""

    name: bytes
    """The name of the stream's chunks."""
    chunk_s: float
    """How long a chunk lasts; 0 if that depends on its size."""
    movie_at: int
    at: int
    n_bytes: int


def _find_index(source: Source, stream_index: int) -> _Index | None:
    chunk_s, movie_at, n_streams, at = 0.0, 0, 0, 12
    for _ in range(_MAX_AVI_CHUNKS):
        source.seek(at)
        chunk = source.read(_AVI_CHUNK_BYTES)
        name, n_bytes, kind = chunk[:4], int.from_bytes(chunk[4:8], "little"), chunk[8:12]
        if name == b"idx1":
            return _Index(b"%02dwb" % stream_index, chunk_s, movie_at, at + 8, min(n_bytes, _MAX_INDEX_BYTES))
        if len(chunk) < _AVI_CHUNK_BYTES:
            return None
        if name == b"strh":
            if n_streams == stream_index:
                scale, rate, _, _, sample_bytes = _AVI_STREAM.unpack_from(chunk, 28)
                chunk_s = scale / rate if rate and not sample_bytes else 0.0
            n_streams += 1
        elif kind == b"movi":
            movie_at = at + 8
        at += 12 if name == b"LIST" and kind in _AVI_HEADERS else 8 + n_bytes + n_bytes % 2
    return None


def _empty_chunks(source: Source, index: _Index | None) -> list[Absence]:
    found: list[Absence] = []
    if index is None or not index.chunk_s:
        return found
    source.seek(index.at)
    data = source.read(index.n_bytes)
    if len(data) < _AVI_ENTRY.size:
        return found
    first_name, _, first_at, _ = _AVI_ENTRY.unpack_from(data)
    source.seek(first_at)
    base = 0 if source.read(4) == first_name else index.movie_at  # positions count from either
    n_chunks = n_empty = 0
    for name, _, at, size in _AVI_ENTRY.iter_unpack(data[: len(data) // _AVI_ENTRY.size * _AVI_ENTRY.size]):
        if name != index.name:
            continue
        if size and n_empty and len(found) < _MAX_ABSENCES:
            found.append(Absence(base + at, n_chunks * index.chunk_s, n_empty * index.chunk_s))
        n_chunks += 1
        n_empty = 0 if size else n_empty + 1
    return found
