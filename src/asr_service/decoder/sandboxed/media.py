"""Decodes one file's audio with FFmpeg and reports what was lost. Runs in the decoder child."""

from collections.abc import Callable, Iterator
from typing import Final

import av
import av.logging
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.protocol import BYTES_PER_SAMPLE, MAX_PAYLOAD_BYTES, DecodeLimits, Outcome
from asr_service.decoder.sandboxed import sniff
from asr_service.decoder.sandboxed.container import Refused, container_name, first_audio_stream, open_container
from asr_service.decoder.sandboxed.loss import LossMeter
from asr_service.decoder.sandboxed.resample import Resampler

_BARE_STREAMS: Final = frozenset({"aac", "amr", "gsm", "mp3"})  # the demuxer counts their timestamps
_GAPS_ARE_LOSS: Final = frozenset({"flac", "ogg"})
_ESTIMATED: Final = "Estimating duration from bitrate"  # libavformat/demux.c
_MAX_FAILED_READS: Final = 256  # in a row
_MIN_SAMPLE_RATE: Final = 1000  # Hz. At lower rates a few kB become hours of noise at 16 kHz, and no recorder uses them

_Log = tuple[int, str, str]
Emit = Callable[[bytes], object]
EmitDuration = Callable[[float], object]


def decode(source: sniff.Source, limits: DecodeLimits, emit: Emit, emit_duration: EmitDuration) -> Outcome:
    """Decode the first audio stream to 16 kHz mono s16le.

    `emit` receives the samples in pieces of at most MAX_PAYLOAD_BYTES. `emit_duration` is called before them, if the
    duration is declared in the header or FFmpeg can estimate it. The outcome covers every error in the file.

    Raises MemoryError: decoding needs too much memory.
    """
    try:
        with av.logging.Capture(local=False) as logs:
            return _Decoding(source, limits, emit, logs).run(emit_duration)
    except Refused as refused:
        return Outcome(refused.verdict, refused.message)


class _Decoding:
    def __init__(self, source: sniff.Source, limits: DecodeLimits, emit: Emit, logs: list[_Log]) -> None:
        self._source = source
        self._limits = limits
        self._emit = emit
        self._logs = logs
        self._file_bytes = source.seek(0, 2)
        self._n_samples = 0
        self._decoded_bytes = 0
        self._first_packet_at = 0
        self._tick_s = 0.0
        self._truncated = False

    def run(self, emit_duration: EmitDuration) -> Outcome:
        av.logging.set_level(av.logging.WARNING)  # the demuxer logs its estimates and problems at this level
        container = open_container(self._source)
        stream = first_audio_stream(container)
        _check_sample_rate(stream.rate)
        self._tick_s = float(stream.time_base or 0)
        duration_s = self._header_duration_s(container, stream)
        self._check_duration(duration_s or 0.0)
        _emit_duration(duration_s, container, emit_duration)
        kind = container.format.name
        loss = LossMeter(has_timestamps=kind not in _BARE_STREAMS, gaps_are_loss=kind in _GAPS_ARE_LOSS)
        self._decode_stream(container, stream, loss)
        if kind == "wav" and self._truncated and duration_s is None:
            duration_s = sniff.wav_header_duration_s(self._source)
        truncated = self._truncated and duration_s is not None  # a streaming writer declares none and may end anywhere
        if kind == "ogg" and sniff.is_ogg_truncated(self._source):
            truncated, duration_s = True, None  # FFmpeg took the duration from the last complete page
        warnings = loss.report(duration_s, self._file_bytes - self._first_packet_at, truncated=truncated)
        if not self._n_samples and (loss.is_damaged or loss.lost_s):
            name = container_name(container)
            raise Refused("undecodable", f"The file is {name}, but nothing of it could be decoded. It is damaged.")
        return Outcome("decoded", warnings=warnings, lost_s=loss.lost_s)

    def _header_duration_s(self, container: InputContainer, stream: AudioStream) -> float | None:
        """Return the duration that the header declares. None if FFmpeg estimated it, or if it may be the video's."""
        is_estimated = any(text.startswith(_ESTIMATED) for _, _, text in self._logs)
        self._logs.clear()
        av.logging.set_level(av.logging.ERROR)
        if is_estimated:
            return None
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        if len(container.streams) == 1 and container.duration is not None:
            return container.duration / av.time_base
        return None

    def _decode_stream(self, container: InputContainer, stream: AudioStream, loss: LossMeter) -> None:
        resampler = Resampler()
        try:
            for packet in self._packets(container, stream):
                for frame in self._frames(packet, stream, loss):
                    self._count(frame)
                    self._emit_samples(resampler.push(frame))
            self._emit_samples(resampler.flush())
        except MemoryError:
            raise
        except av.error.FFmpegError:  # only the resampler's errors reach this: an impossible rate or channel count
            audio = f"Audio with {stream.channels} channels at {stream.rate} Hz"
            raise Refused("unsupported", f"{audio} cannot be converted to 16 kHz mono.") from None

    def _packets(self, container: InputContainer, stream: AudioStream) -> "Iterator[Packet[AudioStream]]":
        """Yield every packet that can be read. The last one is empty and flushes the decoder."""
        n_failed = 0
        packets = container.demux(stream)
        while n_failed < _MAX_FAILED_READS:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except MemoryError:
                raise
            except av.error.FFmpegError:
                n_failed += 1
                packets = container.demux(stream)
                continue
            n_failed = 0
            yield packet

    def _frames(self, packet: "Packet[AudioStream]", stream: AudioStream, loss: LossMeter) -> list[AudioFrame]:
        duration_s = (packet.duration or 0) * self._tick_s
        self._record(packet, duration_s, loss)
        try:
            frames = stream.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            loss.packet_failed(duration_s)
            frames = []
        if any(frame.sample_rate < _MIN_SAMPLE_RATE for frame in frames):  # damaged, or the header is wrong
            loss.packet_failed(duration_s)
            frames = []
        self._logs.clear()  # a hostile file may make FFmpeg log without end
        loss.packet_decoded(sum(frame.samples / frame.sample_rate for frame in frames), packet.size if frames else 0)
        return frames

    def _record(self, packet: "Packet[AudioStream]", duration_s: float, loss: LossMeter) -> None:
        if not packet.size:
            return
        if not self._first_packet_at and packet.pos:
            self._first_packet_at = max(packet.pos, 0)
        self._truncated = packet.is_corrupt
        start_s = None if packet.pts is None else packet.pts * self._tick_s
        loss.packet_read(start_s, duration_s, suspect=bool(self._logs))

    def _count(self, frame: AudioFrame) -> None:
        self._decoded_bytes += frame.samples * frame.format.bytes * frame.layout.nb_channels
        limit = self._limits.max_decoded_bytes
        if self._decoded_bytes > limit:
            raise Refused(
                "too_long", f"The recording decodes to more than the limit of {limit} bytes. Send it in parts."
            )

    def _emit_samples(self, pieces: Iterator[bytes]) -> None:
        for samples in pieces:
            self._n_samples += len(samples) // BYTES_PER_SAMPLE
            self._check_duration(self._n_samples / SAMPLE_RATE)
            for start in range(0, len(samples), MAX_PAYLOAD_BYTES):
                self._emit(samples[start : start + MAX_PAYLOAD_BYTES])

    def _check_duration(self, seconds: float) -> None:
        limit_s = self._limits.max_audio_s
        if seconds > limit_s:
            raise Refused("too_long", f"The recording is longer than the limit of {limit_s:g} s. Send it in parts.")


def _check_sample_rate(rate: int | None) -> None:
    if rate and rate < _MIN_SAMPLE_RATE:  # 0 if the header declares none; then the frames are checked
        need = f"Speech needs at least {_MIN_SAMPLE_RATE} Hz, and 8000 Hz to be intelligible."
        raise Refused("undecodable", f"The recording declares a sample rate of {rate} Hz. {need} Export it again.")


def _emit_duration(duration_s: float | None, container: InputContainer, emit_duration: EmitDuration) -> None:
    """Emit the header's duration, or FFmpeg's estimate: no evidence of loss, but good enough for a progress bar."""
    seconds = duration_s if duration_s is not None else (container.duration or 0) / av.time_base
    if seconds > 0:
        emit_duration(seconds)
