"""Measures how much of a recording could not be decoded, without false alarms.

Which evidence is reliable depends on the container:

- Stored timestamps (MP4, Matroska, OGG, FLAC, WAV, ASF) continue after a gap.
- The timestamps of a bare stream (MP3, ADTS, AMR, GSM) are counted by the demuxer, so they hide a gap.
- A header declares the duration, unless the demuxer had to estimate it from the bit rate.

Loss in the middle therefore needs evidence: a packet that fails to decode, or a gap in the timestamps with a problem
that the demuxer logged. The header's duration then shows how much is missing. A gap without such evidence is a part of
the recording without audio, such as a pause. For a file that ends early, the header's duration is evidence enough.
"""

from dataclasses import dataclass, field
from typing import Final

from asr_service.decoder.protocol import RecordingWarning
from asr_service.decoder.recording import loss_warnings

_MIN_LOSS_S: Final = 0.05
_MIN_GAP_S: Final = 0.2
_MIN_ABSENT_S: Final = 0.5  # shorter pauses and late starts are ordinary
_MIN_ESTIMATED_LOSS_S: Final = 0.25  # for losses that are estimated from bytes
_SAME_DAMAGE_S: Final = 0.5  # failures closer together than this are one damaged place
_NEAR_END_S: Final = 0.1  # damage is at the end if at most this much audio was decoded after it


@dataclass(slots=True)
class LossMeter:
    """Counts packets and frames as they are decoded. `report` then gives the warnings."""

    has_timestamps: bool
    """Whether the container stores timestamps."""
    gaps_are_loss: bool
    """Whether a gap in the timestamps alone is damage. In Matroska it may be a pause of the recording."""
    origin_s: float = 0.0
    """The place in the recording of the first packet, if the file is one of several parts."""
    decoded_s: float = field(default=0.0, init=False)
    decoded_bytes: int = field(default=0, init=False)
    lost_s: float = field(default=0.0, init=False)
    """Seconds that the warnings of `report` name."""
    _damaged_at_s: list[float] = field(default_factory=list, init=False)
    _decoded_s_at_damage: float = field(default=0.0, init=False)
    """`decoded_s` at the latest damage."""
    _packets_end_s: float | None = field(default=None, init=False)
    """The end of the packets so far, by their timestamps."""
    _has_duration: bool = field(default=True, init=False)
    """Whether the demuxer knows the duration of the latest packet."""
    _damage_s: float = field(default=0.0, init=False)
    """Total duration of failed packets and gaps that are damage."""
    _marked: tuple[int, float, float] = field(default=(0, 0.0, 0.0), init=False)
    """Number of damaged places, `_decoded_s_at_damage` and `_damage_s` at the latest `mark`."""
    _not_audio_s: float | None = field(default=None, init=False)
    """Duration of the latest packets, if they are no audio."""
    _late_s: float = field(default=0.0, init=False)
    _pauses: int = field(default=0, init=False)
    _first_pause: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    _pauses_s: float = field(default=0.0, init=False)
    _absent_s: float = field(default=0.0, init=False)
    """Total duration without audio that is not damage, the late start included."""

    def packet_read(self, start_s: float | None, duration_s: float, *, suspect: bool) -> None:
        """Record a packet from the demuxer, with its place. `suspect`: the demuxer logged a problem before it."""
        if not self.has_timestamps or start_s is None:
            return
        gap_s = start_s - (self._packets_end_s or 0.0)
        if gap_s > _MIN_GAP_S:
            self._add_gap(start_s, gap_s, suspect=suspect)
        self._packets_end_s = max(self._packets_end_s or 0.0, start_s + duration_s)
        self._has_duration = duration_s > 0

    def absent(self, seconds: float) -> None:
        """Record a time without audio before the next packet, in a container without timestamps."""
        self._add_gap(self.decoded_s + self._absent_s + seconds, seconds, suspect=False)

    def packet_failed(self, duration_s: float) -> None:
        """Record a packet that could not be decoded."""
        self._add_damage(duration_s)

    def packet_not_audio(self, duration_s: float) -> None:
        """Record a packet that is no audio. It is damage if audio follows, and otherwise a tag or padding."""
        if self.decoded_s:
            self._not_audio_s = (self._not_audio_s or 0.0) + duration_s
        else:
            self._add_damage(duration_s)

    def packet_decoded(self, seconds: float, n_bytes: int) -> None:
        """Record the duration of the decoded audio and the size of its packet."""
        if seconds and self._not_audio_s is not None:
            self._add_damage(self._not_audio_s)
            self._not_audio_s = None
        if self._packets_end_s is not None and not self._has_duration:
            self._packets_end_s += seconds
        self.decoded_s += seconds
        self.decoded_bytes += n_bytes

    def mark(self) -> None:
        """Note that the audio so far belongs to the recording."""
        self._marked = (len(self._damaged_at_s), self._decoded_s_at_damage, self._damage_s)

    def forget_damage_after_mark(self) -> None:
        """Forget the damage after the latest `mark`: another recording follows there."""
        n_damaged, self._decoded_s_at_damage, self._damage_s = self._marked
        del self._damaged_at_s[n_damaged:]

    @property
    def packets_end_s(self) -> float:
        """The place where the packets so far end."""
        return self._packets_end_s or 0.0

    @property
    def is_damaged(self) -> bool:
        return bool(self._damaged_at_s)

    def report(
        self, header_duration_s: float | None, stream_bytes: int, *, truncated: bool, is_rest_blank: bool = False
    ) -> tuple[RecordingWarning, ...]:
        """Return the warnings, and set `lost_s`.

        `header_duration_s` is the place at which the audio ends, as the header declares it. `stream_bytes` is the
        file's size from the first packet on; it gives the duration of a damaged bare stream. `truncated`: the last
        packet is incomplete. `is_rest_blank`: many bytes of one value follow after it.
        """
        ends_in_damage = self.is_damaged and self.decoded_s - self._decoded_s_at_damage < _NEAR_END_S
        duration_s = header_duration_s if header_duration_s is not None else self._estimated_duration_s(stream_bytes)
        end_loss_s = self._end_loss_s(duration_s, ends_in_damage=ends_in_damage)
        middle_loss_s = self._middle_loss_s(duration_s, end_loss_s)
        if ends_in_damage and len(self._damaged_at_s) == 1:  # the only damage is where the file was truncated
            middle_loss_s, end_loss_s = 0.0, end_loss_s + middle_loss_s
        middle = (*self._absence_warnings(), *self._middle_warning(middle_loss_s))
        truncated = truncated or ends_in_damage
        if header_duration_s is None and is_rest_blank and not truncated:
            return (*middle, loss_warnings.blank_rest(self.decoded_s))
        return (*middle, *self._end_warning(header_duration_s, end_loss_s, truncated=truncated))

    def _add_gap(self, start_s: float, gap_s: float, *, suspect: bool) -> None:
        is_late = self._packets_end_s is None and not self.decoded_s
        if (self.gaps_are_loss and suspect) if is_late else (self.gaps_are_loss or suspect):
            self._add_damage(gap_s)
            return
        if is_late:
            self._late_s = gap_s
        elif gap_s >= _MIN_ABSENT_S:
            if not self._pauses:
                self._first_pause = (start_s - gap_s, start_s)
            self._pauses += 1
            self._pauses_s += gap_s
        self._absent_s += gap_s

    def _add_damage(self, seconds: float) -> None:
        if not self.is_damaged or self.decoded_s - self._decoded_s_at_damage > _SAME_DAMAGE_S:
            self._damaged_at_s.append(self.origin_s + self.decoded_s + self._damage_s + self._absent_s)
        self._decoded_s_at_damage = self.decoded_s
        self._damage_s += seconds

    def _estimated_duration_s(self, stream_bytes: int) -> float | None:
        """Return the duration of a damaged bare stream by its mean bit rate."""
        if self.has_timestamps or not self.is_damaged or not self.decoded_bytes:
            return None
        estimate_s = stream_bytes / self.decoded_bytes * self.decoded_s
        return estimate_s if estimate_s - self.decoded_s > _MIN_ESTIMATED_LOSS_S else None

    def _end_loss_s(self, duration_s: float | None, *, ends_in_damage: bool) -> float:
        if duration_s is None:
            return 0.0
        if self.has_timestamps and self._packets_end_s is not None:
            decoded_end_s = self.decoded_s + self._absent_s
            end_s = self._packets_end_s if self.is_damaged else max(self._packets_end_s, decoded_end_s)
            return max(0.0, duration_s - end_s)
        if self.is_damaged and not ends_in_damage:
            return 0.0
        return max(0.0, duration_s - self.decoded_s - self._absent_s)

    def _middle_loss_s(self, duration_s: float | None, end_loss_s: float) -> float:
        if duration_s is None:
            return self._damage_s
        missing_s = max(0.0, duration_s - end_loss_s - self.decoded_s - self._absent_s)
        if self.is_damaged or (self.gaps_are_loss and missing_s > _tolerance_s(duration_s, truncated=False)):
            return missing_s
        return 0.0

    def _absence_warnings(self) -> tuple[RecordingWarning, ...]:
        late = [loss_warnings.late_start(self._late_s)] if self._late_s >= _MIN_ABSENT_S else []
        start_s, end_s = self._first_pause
        first = (self.origin_s + start_s, self.origin_s + end_s)
        pauses = [loss_warnings.no_audio(self._pauses, self._pauses_s, first)] if self._pauses else []
        return (*late, *pauses)

    def _middle_warning(self, loss_s: float) -> tuple[RecordingWarning, ...]:
        if loss_s < _MIN_LOSS_S:
            return ()
        self.lost_s += loss_s
        return (loss_warnings.audio_lost(loss_s, self._damaged_at_s),)

    def _end_warning(
        self, header_duration_s: float | None, loss_s: float, *, truncated: bool
    ) -> tuple[RecordingWarning, ...]:
        if header_duration_s is None:
            return (loss_warnings.ends_in_packet(self.decoded_s),) if truncated else ()
        if loss_s <= _tolerance_s(header_duration_s, truncated=truncated):
            return ()
        self.lost_s += loss_s
        return (loss_warnings.ends_early(self.decoded_s, header_duration_s),)


def _tolerance_s(header_duration_s: float, *, truncated: bool) -> float:
    """Return how much may be missing without a warning: encoder delay, padding and rounding are not loss."""
    return _MIN_LOSS_S if truncated else max(0.5, min(0.01 * header_duration_s, 2.0))
