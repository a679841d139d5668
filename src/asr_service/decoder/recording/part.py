"""Decodes one part of a file, and measures what was lost."""

import math
from dataclasses import dataclass
from typing import Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.protocol import RecordingWarning
from asr_service.decoder.recording.containers import avi, mlp, mpeg_audio, wav
from asr_service.decoder.recording.containers.frames import frames_behind
from asr_service.decoder.recording.containers.second_recording import recording_behind
from asr_service.decoder.recording.containers.source import Source, first_other, read_at, size_of
from asr_service.decoder.recording.declared import skipped_s
from asr_service.decoder.recording.demuxer import Refused, container_name
from asr_service.decoder.recording.log import BAD_PAGE, ENDED_EARLY, Log, capture_log, keep_errors
from asr_service.decoder.recording.loss import LossMeter
from asr_service.decoder.recording.opening import OpenTrack, open_track
from asr_service.decoder.recording.output import Output
from asr_service.decoder.recording.placing import Placer
from asr_service.decoder.recording.timeline import Clock, CountedTime
from asr_service.decoder.recording.tracks import is_usable_rate, later_recording
from asr_service.decoder.recording.truncation import full_end

_BARE_STREAMS: Final = frozenset({
    "aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "gsm", "loas", "mlp", "mp3", "truehd",
})  # fmt: skip
_AVI: Final = "avi"
_MP3: Final = "mp3"
_MLP: Final = frozenset({"mlp", "truehd"})
_COUNTED: Final = _BARE_STREAMS | {_AVI}
"""Containers without timestamps. The demuxer counts them, and wrongly: at the first sample rate, although the rate may
change, and an AVI packet larger than the declared size as several."""
_OGG: Final = "ogg"
_GAPS_ARE_LOSS: Final = frozenset({"flac", _OGG})
_INCOMPLETE: Final = "incomplete frame"  # libavcodec/ac3dec.c, which decodes what is there
_LONGEST_OPUS_PACKET_S: Final = 0.12
_MATROSKA: Final = "matroska,webm"
_WITHOUT_END: Final = _BARE_STREAMS | {_MATROSKA, "voc"}
"""Containers in which nothing may declare the end of the recording."""
_READ_AHEAD_BYTES: Final = 4096
"""A packet of a bare stream may end so far behind the position that FFmpeg gives it, with its size added."""
_MAX_PADDING_BYTES: Final = 16 * 1024
_MAX_EMPTY_BYTES: Final = 16 * 1024
"""A file without any samples may be this large: an empty recording with its headers."""


@dataclass(frozen=True, slots=True)
class DecodedPart:
    """What the decoding of a part has found."""

    warnings: tuple[RecordingWarning, ...]
    behind: str | None
    """The container of a recording behind this one that was not decoded."""


def decode_part(source: Source, output: Output, track: str, *, is_repaired: bool) -> DecodedPart:
    """Decode an audio track; `choose_track` explains `track`. `is_repaired`: damage was cut out, so gaps are losses.

    Raises Refused: the part cannot be decoded, or not any further.
    Raises MemoryError: decoding needs too much memory.
    """
    with capture_log() as log:
        opened = open_track(source, track, log)
        keep_errors()
        return _Part(source, opened, output, log, is_repaired=is_repaired).decode()


class _Part:
    """The decoding of a track."""

    def __init__(self, source: Source, opened: OpenTrack, output: Output, log: Log, *, is_repaired: bool) -> None:
        self._source = source
        self._track = opened
        self._output = output
        self._log = log
        self._kind = opened.container.format.name
        stream, base_s = opened.stream, opened.beginning.base_s
        self._decoder = stream.codec_context
        self._tick_s = float(stream.time_base or 0)
        frame_s = (self._decoder.frame_size or 0) / (stream.rate or SAMPLE_RATE)
        self._max_packet_s = max(frame_s, _LONGEST_OPUS_PACKET_S) if frame_s else math.inf
        self._n_samples_before = output.n_samples
        self._clock = Clock(base_s, output.max_audio_s)
        is_avi = self._kind == _AVI
        self._counted = CountedTime(avi.absences(source, stream.index)) if is_avi else None
        has_timestamps = self._kind not in _COUNTED
        self._placer = Placer(output, base_s, has_gaps=has_timestamps or is_avi, counted=self._counted)
        self._loss = LossMeter(
            has_timestamps=has_timestamps,
            gaps_are_loss=is_repaired or self._kind in _GAPS_ARE_LOSS,
            origin_s=output.end_s,
        )
        self._first_packet_at = 0
        self._last_packet: Packet[AudioStream] | None = None
        self._truncated = False
        self._ended_early = opened.ended_early
        self._ended_in_error = False
        """Whether FFmpeg found no further packet of a Matroska file because of an error."""
        self._last_decoded: Packet[AudioStream] | None = None
        self._last_decoded_at = 0
        self._was_decoded = False
        """Whether the packet before was decoded."""

    def decode(self) -> DecodedPart:
        """Decode all packets."""
        end, container = self._track.end, self._track.container
        self._output.check_duration(end.audio_s or 0.0)
        self._output.expect(end.audio_s if end.audio_s is not None else (container.duration or 0) / av.time_base)
        try:
            for packet in self._track.beginning.packets:
                self._read(packet)
                for frame in self._frames(packet):
                    self._placer.add(frame)
            self._placer.flush()
        except MemoryError:
            raise
        except av.error.FFmpegError:  # only the resampler's errors reach this: an impossible rate or channel count
            audio = f"Audio with {self._track.stream.channels} channels at {self._track.stream.rate} Hz"
            raise Refused("unsupported", f"{audio} cannot be converted to 16 kHz mono.") from None
        behind = self._recording_behind()
        if behind is not None and self._kind in _BARE_STREAMS:  # its packets failed, which is no damage
            self._loss.forget_damage_after_mark()
            self._truncated = False
        warnings = self._losses()
        self._check_not_empty()
        return DecodedPart((*self._track.warnings, *warnings), behind)

    def _read(self, packet: "Packet[AudioStream]") -> None:
        """Record a packet before it is decoded."""
        self._ended_early = self._ended_early or self._log.has(ENDED_EARLY)
        self._truncated = self._truncated or self._log.has(BAD_PAGE)
        self._ended_in_error = self._kind == _MATROSKA and not packet.size and bool(self._log)
        if packet.size:
            is_first = self._last_packet is None
            suspect = bool(self._log) or (self._track.beginning.is_lost and is_first)
            place_s = self._place_s(packet)
            if place_s is not None and is_first and self._kind == _OGG:
                place_s += skipped_s(self._track.stream)
            self._last_packet = packet
            if not self._first_packet_at and packet.pos:
                self._first_packet_at = max(packet.pos, 0)
            self._truncated = packet.is_corrupt
            self._loss.packet_read(place_s, self._duration_s(packet), suspect=suspect)
        if self._counted is not None and packet.pts is not None:
            timestamp_s = packet.pts * self._tick_s - self._track.beginning.base_s
            self._loss.absent(self._counted.absent_before(packet.pos or 0, timestamp_s))

    def _frames(self, packet: "Packet[AudioStream]") -> list[AudioFrame]:
        """Decode a packet and record the result."""
        try:
            frames = self._decoder.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            if self._kind == _MP3 and mpeg_audio.frame_bytes(bytes(packet)[:4]) is None:
                self._loss.packet_not_audio(self._duration_s(packet))
            else:
                self._loss.packet_failed(self._duration_s(packet))
            frames = []
        if not all(is_usable_rate(frame.sample_rate) for frame in frames):  # damaged, or the header is wrong
            self._loss.packet_failed(self._duration_s(packet))
            frames = []
        self._truncated = self._truncated or self._log.has(_INCOMPLETE)
        self._log.clear()
        self._note_decoded(packet if frames else None)
        seconds = sum(frame.samples / frame.sample_rate for frame in frames)
        self._loss.packet_decoded(seconds, packet.size if frames else 0)
        return frames

    def _note_decoded(self, packet: "Packet[AudioStream] | None") -> None:
        """Note a packet that was decoded, None if it was not. A single one within another recording is an accident."""
        follows = self._was_decoded or self._last_decoded is None or self._kind not in _BARE_STREAMS
        self._was_decoded = packet is not None
        if packet is not None and follows:
            self._last_decoded = packet
            self._last_decoded_at = max(self._last_decoded_at, packet.pos or 0)
            self._loss.mark()

    def _recording_behind(self) -> str | None:
        """Return the container of a recording that follows after the last packet that was decoded."""
        container, at = self._track.container, self._last_decoded_at
        name = recording_behind(self._source, at, self._kind) or later_recording(container, self._source, at)
        if name is None and self._last_decoded is not None and len(container.streams.audio) == 1:
            name = frames_behind(self._source, at, bytes(self._last_decoded))  # of no other track
        return name

    def _losses(self) -> tuple[RecordingWarning, ...]:
        truncated = self._truncated or self._ended_early
        if self._kind == _MP3 and self._last_packet is not None:
            n_bytes = mpeg_audio.frame_bytes(bytes(self._last_packet)[:4])
            truncated = (n_bytes or 0) > self._last_packet.size
        if self._kind in _MLP and self._last_packet is not None:
            truncated = self._ends_in_unit(self._last_packet)
        end = full_end(self._kind, self._source, self._track.end, self._loss.packets_end_s, truncated=truncated)
        stream_bytes = size_of(self._source) - self._first_packet_at if self._kind in _BARE_STREAMS else 0
        rest_at = self._rest_at()
        is_blank = rest_at is not None and _is_blank(self._source, rest_at)
        truncated = end.truncated or (self._ended_in_error and rest_at is not None and not is_blank)
        return self._loss.report(end.place_s, stream_bytes, truncated=truncated, is_rest_blank=is_blank)

    def _ends_in_unit(self, last: "Packet[AudioStream]") -> bool:
        """Return whether the file ends within the unit of MLP after the last packet."""
        rest_at = (last.pos or 0) + last.size
        n_rest = size_of(self._source) - rest_at
        return mlp.is_cut_off(bytes(last)[: mlp.HEADER_BYTES], read_at(self._source, rest_at, mlp.HEADER_BYTES), n_rest)

    def _rest_at(self) -> int | None:
        """Return where the rest of a stream begins that has no packets, or None if it is short enough for padding."""
        if self._last_decoded is None or self._kind not in _WITHOUT_END:
            return None
        rest_at = self._last_decoded_at + self._last_decoded.size + _READ_AHEAD_BYTES
        return rest_at if size_of(self._source) - rest_at > _MAX_PADDING_BYTES else None

    def _check_not_empty(self) -> None:
        """Raise Refused if the file should have audio, but nothing of it could be decoded."""
        if self._output.n_samples > self._n_samples_before:
            return
        is_noise = not self._track.end.audio_s and (size_of(self._source) > _MAX_EMPTY_BYTES or self._has_wav_samples())
        if self._loss.is_damaged or self._loss.lost_s or is_noise:
            name = container_name(self._track.container)
            raise Refused("undecodable", f"The file is {name}, but nothing of it could be decoded. It is damaged.")

    def _has_wav_samples(self) -> bool:
        return self._kind == "wav" and bool(wav.declared_duration_s(self._source))

    def _place_s(self, packet: "Packet[AudioStream]") -> float | None:
        if packet.pts is None:
            return None
        return self._clock.place(packet.pts * self._tick_s, self._loss.packets_end_s)

    def _duration_s(self, packet: "Packet[AudioStream]") -> float:
        """Return the packet's duration. In MP4 it reaches to the next packet, however long the gap between them is."""
        return min((packet.duration or 0) * self._tick_s, self._max_packet_s)


def _is_blank(source: Source, at: int) -> bool:
    """Return whether only zero bytes follow, as in an unfinished download, or the ones of an erased memory card."""
    return any(first_other(source, at, byte) < 0 for byte in (b"\x00", b"\xff"))
