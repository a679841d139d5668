"""Finds where a recording begins: the first timestamp, and whether damage has taken what was before."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from asr_service.decoder.recording.containers import flac, ogg
from asr_service.decoder.recording.containers.source import Source
from asr_service.decoder.recording.demuxer import read_packets
from asr_service.decoder.recording.log import BAD_PAGE, Log

Packets = Iterator["Packet[AudioStream]"]

_MAX_LOST_S: Final = 10.0
"""Pages of OGG last about a second. An OGG stream that was recorded from its middle starts later."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a recording."""

    base_s: float
    """The timestamp at the start of the recording."""
    packets: Packets
    is_lost: bool
    """Whether damage has taken the first packets. `base_s` is then the timestamp before them."""


def find_beginning(source: Source, container: InputContainer, stream: AudioStream, log: Log) -> Beginning:
    """Return the beginning, with all packets. `log` has what FFmpeg logged when it opened the file."""
    base_s, packets = (container.start_time or 0) / av.time_base, read_packets(container, stream)
    is_lost = False
    if container.format.name == "flac":
        first = next(packets, None)
        if first is not None:
            is_first = (first.pos or 0) == flac.audio_start(source) and flac.begins_frame(bytes(first))
            is_lost = base_s > 0 and not is_first
            packets = itertools.chain([first], packets)
    elif container.format.name == "ogg":
        if stream.codec_context.name == "flac":
            base_s, packets = _with_flac_start(source, container, stream, packets)
        is_lost = 0 < base_s < _MAX_LOST_S and log.has(BAD_PAGE)
    return Beginning(0.0 if is_lost else base_s, packets, is_lost)


def _with_flac_start(
    source: Source, container: InputContainer, stream: AudioStream, packets: Packets
) -> tuple[float, Packets]:
    """Return the first timestamp of a file with FLAC in OGG, in seconds, and the packets with corrected timestamps.

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
    others = [_start_s(other) for other in container.streams if other is not stream]
    return min([start * float(stream.time_base or 0), *others]), itertools.chain(on_page, packets)


def _start_s(stream: Stream) -> float:
    """Return the first timestamp of a stream, or infinity if it has none."""
    if stream.start_time is None or stream.time_base is None:
        return math.inf
    return float(stream.start_time * stream.time_base)
