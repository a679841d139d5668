"""Decodes one file's audio with FFmpeg and reports what was lost. Runs in the decoder child."""

import math
from collections.abc import Iterator
from typing import Final, Protocol

import av
import av.logging
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.protocol import (
    BYTES_PER_SAMPLE,
    MAX_GAPS,
    MIN_SAMPLES_BETWEEN_GAPS,
    DecodeLimits,
    DecodeOutcome,
    RecordingWarning,
)
from asr_service.decoder.sandboxed import declared, joined, truncation
from asr_service.decoder.sandboxed.container import ENCRYPTED, Refused, container_name, open_container, read_packets
from asr_service.decoder.sandboxed.declared import DeclaredEnd
from asr_service.decoder.sandboxed.loss import LossMeter
from asr_service.decoder.sandboxed.resample import Resampler
from asr_service.decoder.sandboxed.sniff import Source
from asr_service.decoder.sandboxed.timeline import Clock, CountedTime, Packets, Timeline, from_first_flac_frame
from asr_service.decoder.sandboxed.tracks import choose_track, is_usable_rate, later_recording

_BARE_STREAMS: Final = frozenset({
    "aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "gsm", "loas", "mlp", "mp3", "truehd",
})  # fmt: skip
_AVI: Final = "avi"
_COUNTED: Final = _BARE_STREAMS | {_AVI}
"""Containers without timestamps. The demuxer counts them, and wrongly: at the first sample rate, although the rate may
change, and an AVI packet larger than the declared size as several."""
_GAPS_ARE_LOSS: Final = frozenset({"flac", "ogg"})
_INCOMPLETE: Final = "incomplete frame"  # libavcodec/ac3dec.c, which decodes what is there
_BAD_PAGE: Final = "CRC mismatch!"  # libavformat/oggdec.c, which leaves the page out
_ENDED_EARLY: Final = "File ended prematurely"  # libavformat/matroskadec.c, before it returns its last packets
_ASF_ENCRYPTED: Final = ("DRM protected", "Ext DRM protected")  # libavformat/asfdec_f.c
_MAX_LOST_START_S: Final = 10.0
"""Pages of OGG last about a second. An OGG stream that was recorded from its middle starts later."""
_LONGEST_OPUS_PACKET_S: Final = 0.12
_MAX_WARNINGS: Final = 20
"""A file may have thousands of parts, each with its own warnings."""
_MAX_EMPTY_BYTES: Final = 16 * 1024
"""A file without any samples may be this large: an empty recording with its headers."""

_Log = tuple[int, str, str]


class Sink(Protocol):
    """Where the samples of a recording go."""

    def samples(self, samples: bytes, /) -> object:
        """Take the next samples, 16 kHz mono s16le."""

    def gap(self, n_samples: int, /) -> object:
        """Note that the next sample lies this many samples later in the recording than the previous one."""

    def duration(self, seconds: float, /) -> object:
        """Note the recording's duration, if its header declares it or FFmpeg can estimate it. Before the samples."""


class Discarded:
    """A sink that keeps nothing."""

    def samples(self, samples: bytes, /) -> None: ...
    def gap(self, n_samples: int, /) -> None: ...
    def duration(self, seconds: float, /) -> None: ...


def decode(source: Source, limits: DecodeLimits, sink: Sink, track: str = "") -> DecodeOutcome:
    """Decode an audio track to 16 kHz mono s16le.

    `track` is explained at `choose_track`. The outcome covers every error in the file.

    Raises MemoryError: decoding needs too much memory.
    """
    try:
        return _Decoding(source, limits, sink, track).run()
    except Refused as refused:
        return DecodeOutcome(refused.verdict, refused.message)


class _Decoding:
    """The decoding of a file, which consists of one part or of several that were joined."""

    def __init__(self, source: Source, limits: DecodeLimits, sink: Sink, track: str) -> None:
        self._source = source
        self._output = _Output(limits, sink)
        self._track = track
        self._warnings: list[RecordingWarning] = []
        self._n_left_out = 0

    def run(self) -> DecodeOutcome:
        following = joined.following_recording(self._source)
        parts = [(0, following[1])] if following is not None else joined.links(self._source)
        self._decode(joined.Part(self._source, *parts[0]))
        for start, end in parts[1:]:
            self._decode_further(joined.Part(self._source, start, end))
        if following is not None:
            self._warn_of_recording_behind(following[0])
        if self._n_left_out:
            text = f"Other parts of the file have {self._n_left_out} more warnings."
            self._warnings.append(RecordingWarning("more_warnings", text, {"count": self._n_left_out}))
        return DecodeOutcome("decoded", warnings=tuple(self._warnings))

    def _decode(self, source: Source) -> None:
        with av.logging.Capture(local=False) as logs:
            part = _Part(source, self._output, logs, self._track)
            part.decode()
        self._warn(*part.warnings)
        behind = joined.recording_behind(source, part.last_decoded_at) or part.later_recording
        if behind is not None:
            self._warn_of_recording_behind(behind)

    def _decode_further(self, source: Source) -> None:
        at_s = self._output.end_s
        try:
            self._decode(source)
        except Refused as refused:
            if refused.verdict == "too_long":
                raise
            text = f"A part of the file, at {at_s:.1f} s, could not be decoded: {refused.message}"
            self._warn(RecordingWarning("part_not_decoded", text, {"at_s": round(at_s, 1)}))

    def _warn_of_recording_behind(self, name: str) -> None:
        text = f"A second recording ({name}) follows in the file. Only the first was decoded."
        self._warn(RecordingWarning("second_recording", text, {"container": name}))

    def _warn(self, *warnings: RecordingWarning) -> None:
        room = max(_MAX_WARNINGS - len(self._warnings), 0)
        self._warnings += warnings[:room]
        self._n_left_out += len(warnings[room:])


class _Output:
    """Takes the audio of all parts, keeps its places and checks its limits."""

    def __init__(self, limits: DecodeLimits, sink: Sink) -> None:
        self.limits = limits
        self._sink = sink
        self._decoded_bytes = 0
        self._has_duration = False
        self._n_gaps = 0
        self._n_absent = 0
        self._last_gap_at = 0
        self.n_samples = 0

    @property
    def end_s(self) -> float:
        """The place of the next sample."""
        return (self.n_samples + self._n_absent) / SAMPLE_RATE

    @property
    def max_absent_s(self) -> float:
        """How much longer the gaps may become."""
        return self.limits.max_audio_s - self._n_absent / SAMPLE_RATE if self._n_gaps < MAX_GAPS else 0.0

    def expect(self, seconds: float) -> None:
        """Pass on the duration of the first part: good enough for a progress bar."""
        if seconds > 0 and not self._has_duration:
            self._has_duration = True
            self._sink.duration(seconds)

    def move_to(self, place_s: float) -> None:
        """Put the next sample at this place, unless it is further ahead already or too few came since the last gap."""
        n_samples = round(place_s * SAMPLE_RATE) - self.n_samples - self._n_absent
        if n_samples > 0 and (not self._n_gaps or self.n_samples - self._last_gap_at >= MIN_SAMPLES_BETWEEN_GAPS):
            self._last_gap_at = self.n_samples
            self._n_gaps += 1
            self._n_absent += n_samples
            self._sink.gap(n_samples)

    def add(self, pieces: Iterator[bytes]) -> None:
        for samples in pieces:
            self.n_samples += len(samples) // BYTES_PER_SAMPLE
            self.check_duration(self.n_samples / SAMPLE_RATE)
            self._sink.samples(samples)

    def count(self, frame: AudioFrame) -> None:
        """Count a frame's bytes in the file's own format."""
        self._decoded_bytes += frame.samples * frame.format.bytes * frame.layout.nb_channels
        limit = self.limits.max_decoded_bytes
        if self._decoded_bytes > limit:
            raise Refused(
                "too_long", f"The recording decodes to more than the limit of {limit} bytes. Send it in parts."
            )

    def check_duration(self, seconds: float) -> None:
        limit_s = self.limits.max_audio_s
        if seconds > limit_s:
            raise Refused("too_long", f"The recording is longer than the limit of {limit_s:g} s. Send it in parts.")


class _Part:
    """The decoding of one part. The public attributes are known once `decode` has returned."""

    def __init__(self, source: Source, output: _Output, logs: list[_Log], track: str) -> None:
        self._source = source
        self._output = output
        self._logs = logs
        self._track = track
        self._file_bytes = source.seek(0, 2)
        self._origin_s = output.end_s
        self._n_samples_before = output.n_samples
        self._first_packet_at = 0
        self._tick_s = 0.0
        self._max_packet_s = math.inf
        self._truncated = False
        self._ended_early = False
        self._is_mpeg_audio = False
        self._last_packet: Packet[AudioStream] | None = None
        self.warnings: tuple[RecordingWarning, ...] = ()
        self.last_decoded_at = 0
        """The position of the last packet that was decoded."""
        self.later_recording: str | None = None

    def decode(self) -> None:
        av.logging.set_skip_repeated(False)  # each problem counts, also if the one before it had the same message
        av.logging.set_level(av.logging.WARNING)  # the demuxer logs its estimates and problems at this level
        container = open_container(self._source)
        stream, track_warnings = choose_track(container, self._track)
        if self._has_logged(*_ASF_ENCRYPTED):
            raise Refused("unsupported", ENCRYPTED)
        self._tick_s = float(stream.time_base or 0)
        frame_s = (stream.codec_context.frame_size or 0) / (stream.rate or SAMPLE_RATE)
        self._max_packet_s = max(frame_s, _LONGEST_OPUS_PACKET_S) if frame_s else math.inf
        is_estimated = self._has_logged(declared.ESTIMATED)
        kind = container.format.name
        self._is_mpeg_audio = kind == "mp3"
        base_s, packets = (container.start_time or 0) / av.time_base, read_packets(container, stream)
        if kind == "ogg" and stream.codec_context.name == "flac":
            start, packets = from_first_flac_frame(packets, stream.codec_context.extradata or b"")
            base_s = start * self._tick_s if len(container.streams) == 1 else base_s
        if 0 < base_s < _MAX_LOST_START_S and self._has_logged(_BAD_PAGE):
            base_s = 0.0  # the first packet then comes after a gap, and with the logged problem
        else:
            self._ended_early = self._has_logged(_ENDED_EARLY)  # of a short file
            self._logs.clear()
        av.logging.set_level(av.logging.ERROR)
        end = declared.declared_end(container, stream, base_s, is_estimated=is_estimated)
        self._output.check_duration(end.audio_s or 0.0)
        self._output.expect(end.audio_s if end.audio_s is not None else (container.duration or 0) / av.time_base)
        loss = LossMeter(
            has_timestamps=kind not in _COUNTED, gaps_are_loss=kind in _GAPS_ARE_LOSS, origin_s=self._origin_s
        )
        self._decode_stream(kind, stream, packets, loss, base_s)
        self.warnings = (*track_warnings, *self._losses(kind, loss, end))
        self._check_not_empty(container, loss, end)
        self.later_recording = later_recording(container, self._source, self.last_decoded_at)

    def _losses(self, kind: str, loss: LossMeter, end: DeclaredEnd) -> tuple[RecordingWarning, ...]:
        duration_s, truncated = end.audio_s, self._truncated or self._ended_early
        if self._is_mpeg_audio and self._last_packet is not None:
            n_bytes = truncation.mpeg_frame_bytes(bytes(self._last_packet)[:4])
            truncated = (n_bytes or 0) > self._last_packet.size
        if kind in truncation.CHECKED and (truncated or truncation.is_truncated(kind, self._source)):
            truncated = True
            if duration_s is not None and duration_s <= loss.packets_end_s:
                duration_s = None  # FFmpeg took it from the last packet
        if duration_s is None and truncated:
            duration_s = end.file_s if kind != "wav" else truncation.wav_header_duration_s(self._source)
        duration_s = truncation.full_duration_s(kind, self._source) or duration_s
        if kind == "ogg" and (truncated or truncation.is_ogg_truncated(self._source)):
            truncated, duration_s = True, None  # FFmpeg took the duration from the last complete page
        elif duration_s is None and kind == "wav":
            truncated = False  # a streaming writer declares no duration and may end anywhere
        stream_bytes = self._file_bytes - self._first_packet_at if kind in _BARE_STREAMS else 0
        return loss.report(duration_s, stream_bytes, truncated=truncated)

    def _check_not_empty(self, container: InputContainer, loss: LossMeter, end: DeclaredEnd) -> None:
        if self._output.n_samples > self._n_samples_before:
            return
        is_noise = not end.audio_s and (self._file_bytes > _MAX_EMPTY_BYTES or self._has_wav_samples(container))
        if loss.is_damaged or loss.lost_s or is_noise:
            name = container_name(container)
            raise Refused("undecodable", f"The file is {name}, but nothing of it could be decoded. It is damaged.")

    def _has_wav_samples(self, container: InputContainer) -> bool:
        return container.format.name == "wav" and bool(truncation.wav_header_duration_s(self._source))

    def _decode_stream(self, kind: str, stream: AudioStream, packets: Packets, loss: LossMeter, base_s: float) -> None:
        resampler = Resampler()
        clock = Clock(base_s, self._output.limits.max_audio_s)
        is_avi = kind == _AVI
        counted = CountedTime(declared.avi_absences(self._source, stream.index)) if is_avi else None
        timeline = Timeline(base_s, self._output.max_absent_s, has_gaps=loss.has_timestamps or is_avi)
        try:
            for packet in packets:
                self._record(packet, clock, loss)
                if counted is not None and packet.pts is not None:
                    absent_s = counted.absent_before(packet.pos or 0, packet.pts * self._tick_s - base_s)
                    loss.absent(absent_s)
                for frame in self._frames(packet, stream.codec_context, loss):
                    self._output.count(frame)
                    timestamp_s = None if frame.pts is None else frame.pts * float(frame.time_base or 0)
                    duration_s = frame.samples / frame.sample_rate
                    if counted is not None:
                        timestamp_s = counted.timestamp_s(duration_s) + base_s
                    if timeline.gap_before(timestamp_s, duration_s):
                        self._output.add(resampler.flush())
                        self._output.move_to(self._origin_s + timeline.end_s - duration_s)
                    self._output.add(resampler.push(frame))
            self._output.add(resampler.flush())
        except MemoryError:
            raise
        except av.error.FFmpegError:  # only the resampler's errors reach this: an impossible rate or channel count
            audio = f"Audio with {stream.channels} channels at {stream.rate} Hz"
            raise Refused("unsupported", f"{audio} cannot be converted to 16 kHz mono.") from None

    def _record(self, packet: "Packet[AudioStream]", clock: Clock, loss: LossMeter) -> None:
        self._ended_early = self._ended_early or self._has_logged(_ENDED_EARLY)
        self._truncated = self._truncated or self._has_logged(_BAD_PAGE)
        if not packet.size:
            return
        self._last_packet = packet
        if not self._first_packet_at and packet.pos:
            self._first_packet_at = max(packet.pos, 0)
        self._truncated = packet.is_corrupt
        start_s = None if packet.pts is None else clock.place(packet.pts * self._tick_s, loss.packets_end_s)
        loss.packet_read(start_s, self._duration_s(packet), suspect=bool(self._logs))

    def _frames(self, packet: "Packet[AudioStream]", decoder: AudioCodecContext, loss: LossMeter) -> list[AudioFrame]:
        try:
            frames = decoder.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            if self._is_mpeg_audio and truncation.mpeg_frame_bytes(bytes(packet)[:4]) is None:
                loss.packet_not_audio(self._duration_s(packet))
            else:
                loss.packet_failed(self._duration_s(packet))
            frames = []
        if not all(is_usable_rate(frame.sample_rate) for frame in frames):  # damaged, or the header is wrong
            loss.packet_failed(self._duration_s(packet))
            frames = []
        if self._has_logged(_INCOMPLETE):
            self._truncated = True
        self._logs.clear()  # a hostile file may make FFmpeg log without end
        if frames:
            self.last_decoded_at = max(self.last_decoded_at, packet.pos or 0)
        loss.packet_decoded(sum(frame.samples / frame.sample_rate for frame in frames), packet.size if frames else 0)
        return frames

    def _has_logged(self, *beginnings: str) -> bool:
        return any(text.startswith(beginnings) for _, _, text in self._logs)

    def _duration_s(self, packet: "Packet[AudioStream]") -> float:
        """Return the packet's duration. In MP4 it reaches to the next packet, however long the gap between them is."""
        return min((packet.duration or 0) * self._tick_s, self._max_packet_s)
