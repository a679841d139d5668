"""Opens a track of a recording: its packets, its beginning and its declared end."""

from dataclasses import dataclass
from typing import Final

from av.audio.stream import AudioStream
from av.container import InputContainer

from asr_service.decoder.protocol import RecordingWarning
from asr_service.decoder.recording.beginning import Beginning, find_beginning
from asr_service.decoder.recording.containers import avi
from asr_service.decoder.recording.containers.source import Source
from asr_service.decoder.recording.declared import DeclaredEnd, declared_end
from asr_service.decoder.recording.demuxer import ENCRYPTED, Refused, open_container
from asr_service.decoder.recording.log import ENDED_EARLY, Log
from asr_service.decoder.recording.tracks import choose_track

_ESTIMATED: Final = "Estimating duration from bitrate"  # libavformat/demux.c
_ASF_ENCRYPTED: Final = ("DRM protected", "Ext DRM protected")  # libavformat/asfdec_f.c


@dataclass(frozen=True, slots=True)
class OpenTrack:
    """An audio track that is ready to be decoded."""

    container: InputContainer
    stream: AudioStream
    beginning: Beginning
    end: DeclaredEnd
    ended_early: bool
    """Whether FFmpeg reached the end of a truncated file while it opened it."""
    warnings: tuple[RecordingWarning, ...]


def open_track(source: Source, wanted: str, log: Log) -> OpenTrack:
    """Open an audio track; `choose_track` explains `wanted`.

    The log is empty then.

    Raises Refused: the file is not supported, or damaged, or has no such track.
    Raises MemoryError: opening it needs too much memory.
    """
    container = open_container(source)
    stream, warnings = choose_track(container, wanted)
    if log.has(*_ASF_ENCRYPTED):
        raise Refused("unsupported", ENCRYPTED)
    is_estimated, ended_early = log.has(_ESTIMATED), log.has(ENDED_EARLY)
    beginning = find_beginning(source, container, stream, log)
    log.clear()
    is_estimated = is_estimated or (container.format.name == "avi" and avi.is_streamed(source))
    end = declared_end(container, stream, beginning.base_s, is_estimated=is_estimated)
    return OpenTrack(container, stream, beginning, end, ended_early, warnings)
