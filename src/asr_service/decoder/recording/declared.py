"""Reads where the audio ends by the header of the file."""

import re
from dataclasses import dataclass
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

_WITHOUT_DURATION: Final = frozenset({"mpegts", "mpeg"})  # FFmpeg reads the last timestamps, which are present
_MATROSKA: Final = "matroska,webm"
_MP4: Final = "mov,mp4,m4a,3gp,3g2,mj2"
_OPUS: Final = frozenset({"opus", "libopus"})  # FFmpeg's two decoders
_OPUS_RATE: Final = 48_000
_ABSOLUTE: Final = frozenset({_MATROSKA, "flv"})  # their durations count from time 0
_OGG: Final = "ogg"
_WITH_SKIPPED: Final = frozenset({_MATROSKA, _OGG})  # their durations count what a player skips at the start
_FROM_0: Final = frozenset({"asf", "flac"})
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
    if kind == _OGG and len(container.streams) > 1:  # FFmpeg gives each stream the end of the longest one
        return DeclaredEnd(None, file_s)
    if kind in _ABSOLUTE and file_s is not None:
        file_s -= base_s
    audio_s = _tagged_end_s(stream, base_s) if kind == _MATROSKA else _stream_end_s(stream, base_s, kind)
    if audio_s is None and len(container.streams) == 1:
        audio_s = file_s
    if audio_s is not None and kind in _WITH_SKIPPED:
        audio_s = max(audio_s - skipped_s(stream), 0.0)
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


def skipped_s(stream: AudioStream) -> float:
    """Return the seconds at the start of an Opus stream that are not played: its pre-skip. RFC 7845, section 5.1."""
    if stream.codec_context.name not in _OPUS:
        return 0.0
    return int.from_bytes((stream.codec_context.extradata or b"")[10:12], "little") / _OPUS_RATE


def _counts_from_0(stream: AudioStream, kind: str) -> bool:
    """Return whether FFmpeg's duration of the stream includes the time before its start.

    It does for ASF, FLAC, Opus in OGG, and the fragments of an MP4 file without an index.
    """
    is_opus_in_ogg = kind == _OGG and stream.codec_context.name in _OPUS
    return kind in _FROM_0 or is_opus_in_ogg or (kind == _MP4 and not stream.frames)
