"""Where the samples of a recording go, and the limits of its duration and size."""

from collections.abc import Iterable
from typing import Protocol

from av.audio.frame import AudioFrame

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.protocol import BYTES_PER_SAMPLE, MAX_GAPS, MIN_SAMPLES_BETWEEN_GAPS, DecodeLimits
from asr_service.decoder.recording.demuxer import Refused


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


class Output:
    """Passes the audio of all parts to the sink, keeps its place and checks the limits."""

    def __init__(self, limits: DecodeLimits, sink: Sink) -> None:
        self._limits = limits
        self._sink = sink
        self._decoded_bytes = 0
        self._has_duration = False
        self._n_gaps = 0
        self._n_absent = 0
        self._last_gap_at = 0
        self.n_samples = 0
        """Number of samples so far."""

    @property
    def end_s(self) -> float:
        """The place of the next sample."""
        return (self.n_samples + self._n_absent) / SAMPLE_RATE

    @property
    def max_audio_s(self) -> float:
        """The maximum duration of the recording."""
        return self._limits.max_audio_s

    @property
    def max_absent_s(self) -> float:
        """How much longer the gaps may become."""
        return self.max_audio_s - self._n_absent / SAMPLE_RATE if self._n_gaps < MAX_GAPS else 0.0

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

    def add(self, pieces: Iterable[bytes]) -> None:
        """Pass on samples. Raises Refused: the recording is too long."""
        for samples in pieces:
            self.n_samples += len(samples) // BYTES_PER_SAMPLE
            self.check_duration(self.n_samples / SAMPLE_RATE)
            self._sink.samples(samples)

    def count(self, frame: AudioFrame) -> None:
        """Count a frame's bytes in the file's own format. Raises Refused: the recording is too large."""
        self._decoded_bytes += frame.samples * frame.format.bytes * frame.layout.nb_channels
        limit = self._limits.max_decoded_bytes
        if self._decoded_bytes > limit:
            raise Refused(
                "too_long", f"The recording decodes to more than the limit of {limit} bytes. Send it in parts."
            )

    def check_duration(self, seconds: float) -> None:
        """Raise Refused if a recording of this duration is too long."""
        if seconds > self.max_audio_s:
            raise Refused(
                "too_long", f"The recording is longer than the limit of {self.max_audio_s:g} s. Send it in parts."
            )
