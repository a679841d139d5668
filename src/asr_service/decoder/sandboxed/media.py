"""One file's audio through FFmpeg: what comes out of it, and what of it was lost. Runs in the decoder child."""

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
from asr_service.decoder.sandboxed.container import Refused, first_audio, kind_of, open_container
from asr_service.decoder.sandboxed.loss import LossMeter
from asr_service.decoder.sandboxed.resample import Resampler

_BARE_STREAMS: Final = frozenset({"aac", "amr", "gsm", "mp3"})  # their timestamps are counted, not stored
_GAPS_ARE_LOSS: Final = frozenset({"flac", "ogg"})
_GUESSED_LENGTH: Final = "Estimating duration from bitrate"  # libavformat/demux.c
_MAX_FRUITLESS_READS: Final = 256
_LEAST_RATE: Final = 1000  # Hz: a few kB of a lower one are hours at 16 kHz, all of them noise; no recorder has it

_Log = tuple[int, str, str]
Emit = Callable[[bytes], object]
Announce = Callable[[float], object]


def decode(source: sniff.Source, limits: DecodeLimits, emit: Emit, announce: Announce) -> Outcome:
    """Give `emit` the first audio stream as 16 kHz mono s16le, piece by piece, at most MAX_PAYLOAD_BYTES each.

    `announce` gets the seconds that it seems to last, where they can be told beforehand: a header's word, or a guess.
    Whatever the bytes are, the outcome says it; only MemoryError leaves.
    """
    try:
        with av.logging.Capture(local=False) as logs:
            return _Decoding(source, limits, emit, logs).run(announce)
    except Refused as refused:
        return Outcome(refused.verdict, refused.message)


class _Decoding:
    def __init__(self, source: sniff.Source, limits: DecodeLimits, emit: Emit, logs: list[_Log]) -> None:
        self._source = source
        self._limits = limits
        self._emit = emit
        self._logs = logs
        self._size = source.seek(0, 2)
        self._n_samples = 0
        self._decoded_bytes = 0
        self._first_pos = 0
        self._tick_s = 0.0
        self._cut = False

    def run(self, announce: Announce) -> Outcome:
        av.logging.set_level(av.logging.WARNING)  # what the demuxer guesses and stumbles over is told there
        container = open_container(self._source)
        stream = first_audio(container)
        _refuse_if_slow(stream.rate)
        self._tick_s = float(stream.time_base or 0)
        announced_s = self._announced_s(container, stream)
        self._refuse_if_long(announced_s or 0.0)
        _announce(announced_s, container, announce)
        kind = container.format.name
        loss = LossMeter(timestamps=kind not in _BARE_STREAMS, gaps_are_loss=kind in _GAPS_ARE_LOSS)
        self._stream(container, stream, loss)
        if kind == "wav" and self._cut and announced_s is None:
            announced_s = sniff.wav_announced_s(self._source)
        cut = self._cut and announced_s is not None  # a writer that streamed announces nothing and ends anywhere
        if kind == "ogg" and sniff.ogg_is_cut(self._source):
            cut, announced_s = True, None  # FFmpeg took the length from the last whole page
        warnings = loss.report(announced_s, self._size - self._first_pos, cut=cut)
        if not self._n_samples and (loss.any_failed or loss.lost_s):
            raise Refused(
                "undecodable", f"it is {kind_of(container)}, but nothing of it could be decoded; it is damaged"
            )
        return Outcome("decoded", warnings=warnings, lost_s=loss.lost_s)

    def _announced_s(self, container: InputContainer, stream: AudioStream) -> float | None:
        """The length by the header. None where FFmpeg guessed it, or where it may be that of the pictures."""
        guessed = any(text.startswith(_GUESSED_LENGTH) for _, _, text in self._logs)
        self._logs.clear()
        av.logging.set_level(av.logging.ERROR)
        if guessed:
            return None
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        alone = len(container.streams) == 1
        return container.duration / av.time_base if alone and container.duration is not None else None

    def _stream(self, container: InputContainer, stream: AudioStream, loss: LossMeter) -> None:
        resampler = Resampler()
        try:
            for packet in self._packets(container, stream):
                for frame in self._frames(packet, stream, loss):
                    self._count(frame)
                    self._send(resampler.push(frame))
            self._send(resampler.flush())
        except MemoryError:
            raise
        except av.error.FFmpegError:  # what is left of them is the filter's: no such rate, too many channels
            form = f"{stream.channels} channels at {stream.rate} Hz"
            raise Refused("unsupported", f"audio of {form} cannot be made 16 kHz mono") from None

    def _packets(self, container: InputContainer, stream: AudioStream) -> "Iterator[Packet[AudioStream]]":
        """Packets to the end of the file, the empty one that flushes the decoder last. A bad place is stepped over."""
        fruitless = 0
        packets = container.demux(stream)
        while fruitless < _MAX_FRUITLESS_READS:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except MemoryError:
                raise
            except av.error.FFmpegError:
                fruitless += 1
                packets = container.demux(stream)
                continue
            fruitless = 0
            yield packet

    def _frames(self, packet: "Packet[AudioStream]", stream: AudioStream, loss: LossMeter) -> list[AudioFrame]:
        duration_s = (packet.duration or 0) * self._tick_s
        self._note(packet, duration_s, loss)
        try:
            frames = stream.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            loss.failed(duration_s)
            frames = []
        if any(frame.sample_rate < _LEAST_RATE for frame in frames):  # damaged, or it denies what the header claims
            loss.failed(duration_s)
            frames = []
        self._logs.clear()  # a hostile file may have FFmpeg complain without end
        loss.decoded(sum(frame.samples / frame.sample_rate for frame in frames), packet.size if frames else 0)
        return frames

    def _note(self, packet: "Packet[AudioStream]", duration_s: float, loss: LossMeter) -> None:
        if not packet.size:
            return
        if not self._first_pos and packet.pos:
            self._first_pos = max(packet.pos, 0)
        self._cut = packet.is_corrupt
        start_s = None if packet.pts is None else packet.pts * self._tick_s
        loss.arrived(start_s, duration_s, suspect=bool(self._logs))

    def _count(self, frame: AudioFrame) -> None:
        self._decoded_bytes += frame.samples * frame.format.bytes * frame.layout.nb_channels
        if self._decoded_bytes > self._limits.max_decoded_bytes:
            most = self._limits.max_decoded_bytes
            raise Refused("too_long", f"the recording decodes to more than the limit of {most} bytes; send it in parts")

    def _send(self, pieces: Iterator[bytes]) -> None:
        for samples in pieces:
            self._n_samples += len(samples) // BYTES_PER_SAMPLE
            self._refuse_if_long(self._n_samples / SAMPLE_RATE)
            for start in range(0, len(samples), MAX_PAYLOAD_BYTES):
                self._emit(samples[start : start + MAX_PAYLOAD_BYTES])

    def _refuse_if_long(self, seconds: float) -> None:
        most_s = self._limits.max_audio_s
        if seconds > most_s:
            raise Refused("too_long", f"the recording is longer than the limit of {most_s:g} s; send it in parts")


def _refuse_if_slow(rate: int | None) -> None:
    if rate and rate < _LEAST_RATE:  # 0 where the header does not say; the frames do
        claim = f"the recording claims a sample rate of {rate} Hz"
        raise Refused(
            "undecodable",
            f"{claim}; speech needs {_LEAST_RATE} Hz at least, and 8000 to be understood: export it again",
        )


def _announce(announced_s: float | None, container: InputContainer, announce: Announce) -> None:
    """FFmpeg's guess from the bitrate is no ground for a warning, and good enough to show how far along one is."""
    seconds = announced_s if announced_s is not None else (container.duration or 0) / av.time_base
    if seconds > 0:
        announce(seconds)
