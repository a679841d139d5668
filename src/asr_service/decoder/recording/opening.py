"""Opens a track of a recording: its packets, its beginning and its declared end."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from asr_service.decoder.protocol import RecordingWarning
from asr_service.decoder.recording.containers import ogg
from asr_service.decoder.recording.containers.source import Source
from asr_service.decoder.recording.declared import DeclaredEnd, declared_end
from asr_service.decoder.recording.demuxer import ENCRYPTED, Refused, open_container, read_packets
from asr_service.decoder.recording.log import Log
from asr_service.decoder.recording.tracks import choose_track

Packets = Iterator["Packet[AudioStream]"]

BAD_PAGE: Final = "CRC mismatch!"  # libavformat/oggdec.c, which leaves the page out
ENDED_EARLY: Final = "File ended prematurely"  # libavformat/matroskadec.c, before it returns its last packets
_ESTIMATED: Final = "Estimating duration from bitrate"  # libavformat/demux.c
_ASF_ENCRYPTED: Final = ("DRM protected", "Ext DRM protected")  # libavformat/asfdec_f.c
_MAX_LOST_START_S: Final = 10.0
"""Pages of OGG last about a second. An OGG stream that was recorded from its middle starts later."""


@dataclass(frozen=True, slots=True)
class OpenTrack:
    """An audio track that is ready to be decoded."""

    container: InputContainer
    stream: AudioStream
    packets: Packets
    base_s: float
    """The timestamp at the start of the recording."""
    end: DeclaredEnd
    ended_early: bool
    """Whether FFmpeg reached the end of a truncated file while it opened it."""
    warnings: tuple[RecordingWarning, ...]


def open_track(source: Source, wanted: str, log: Log) -> OpenTrack:
    """Open an audio track; `choose_track` explains `wanted`.

    The log keeps the problem of a lost beginning, and is empty otherwise.

    Raises Refused: the file is not supported, or damaged, or has no such track.
    Raises MemoryError: opening it needs too much memory.
    """
    container = open_container(source)
    stream, warnings = choose_track(container, wanted)
    if log.has(*_ASF_ENCRYPTED):
        raise Refused("unsupported", ENCRYPTED)
    is_estimated, ended_early = log.has(_ESTIMATED), log.has(ENDED_EARLY)
    base_s, packets = _beginning(source, container, stream)
    if 0 < base_s < _MAX_LOST_START_S and log.has(BAD_PAGE):
        base_s = 0.0  # the first packet then comes after a gap, and with the logged problem
    else:
        log.clear()
    end = declared_end(container, stream, base_s, is_estimated=is_estimated)
    return OpenTrack(container, stream, packets, base_s, end, ended_early, warnings)


def _beginning(source: Source, container: InputContainer, stream: AudioStream) -> tuple[float, Packets]:
    """Return the timestamp at the start of the recording, and the packets."""
    packets = read_packets(container, stream)
    if container.format.name != "ogg" or stream.codec_context.name != "flac":
        return (container.start_time or 0) / av.time_base, packets
    start_s, packets = _with_flac_start(source, stream, packets)
    others = (_start_s(other) for other in container.streams if other is not stream)
    return min([start_s, *(other_s for other_s in others if other_s is not None)]), packets


def _start_s(stream: Stream) -> float | None:
    return (
        None if stream.start_time is None or stream.time_base is None else float(stream.start_time * stream.time_base)
    )


def _with_flac_start(source: Source, stream: AudioStream, packets: Packets) -> tuple[float, Packets]:
    """Return the first timestamp of a FLAC stream in OGG, in seconds, and its packets with corrected timestamps.

    FFmpeg counts the packets of the first page from 0, and reads the timestamps of the others from the file. So they
    differ if the stream starts late, or was recorded from its middle.
    """
    first = next(packets, None)
    page = None if first is None else ogg.page_at(source, first.pos or 0)
    if first is None or page is None:
        return 0.0, packets if first is None else itertools.chain([first], packets)
    on_page = [first, *itertools.islice(packets, max(page.n_packets - 1, 0))]
    start = max(page.end - sum(packet.duration or 0 for packet in on_page), 0)
    late = start - (first.pts or 0)
    for packet in on_page:
        packet.pts = None if packet.pts is None else packet.pts + late
    return start * float(stream.time_base or 0), itertools.chain(on_page, packets)
