"""How much of a recording did not decode, said in a way that does not cry wolf.

Containers tell the truth about different things. Timestamps (MP4, Matroska, OGG, FLAC, WAV, ASF) go on past a hole;
those of a bare stream (MP3, ADTS, AMR, GSM) are counted by the demuxer and close over it. Headers announce a length,
unless the demuxer had to guess it from the bit rate. So damage in the middle needs evidence (a packet that fails, a
jump in time) and the announced length then says how much is missing; a file that ends early needs only the length.
"""

from dataclasses import dataclass, field
from typing import Final

_LEAST_LOSS_S: Final = 0.05
_LEAST_GAP_S: Final = 0.2
_LEAST_GUESSED_S: Final = 0.25  # of what is reckoned from bytes
_SAME_PLACE_S: Final = 0.5
_AT_THE_END_S: Final = 0.1  # what decodes after the last damage, at most, if it is to be the file's end


@dataclass(slots=True)
class LossMeter:
    """Told of each packet and frame as they come; `report` then says what is missing. Times are seconds."""

    timestamps: bool
    """Whether the container's own timestamps are to be believed."""
    gaps_are_loss: bool
    """Whether a jump in them is damage by itself. In Matroska it may be a pause of the one who recorded."""
    decoded_s: float = 0.0
    lost_s: float = field(default=0.0, init=False)
    good_bytes: int = field(default=0, init=False)
    _places_s: list[float] = field(default_factory=list, init=False)
    _last_damage_s: float = field(default=0.0, init=False)
    _end_s: float | None = field(default=None, init=False)
    _failures_s: float = field(default=0.0, init=False)

    def arrived(self, start_s: float | None, duration_s: float, *, suspect: bool) -> None:
        """A packet was read. `suspect`: the demuxer complained on the way to it."""
        if not self.timestamps or start_s is None:
            return
        gap_s = 0.0 if self._end_s is None else start_s - self._end_s
        if gap_s > _LEAST_GAP_S and (self.gaps_are_loss or suspect):
            self._damage(gap_s)
        self._end_s = max(self._end_s or 0.0, start_s + duration_s)

    def failed(self, duration_s: float) -> None:
        """A packet did not decode."""
        self._damage(duration_s)

    def decoded(self, seconds: float, n_bytes: int) -> None:
        self.decoded_s += seconds
        self.good_bytes += n_bytes

    @property
    def any_failed(self) -> bool:
        return bool(self._places_s)

    def report(self, announced_s: float | None, coded_bytes: int, *, cut: bool) -> tuple[str, ...]:
        """Warnings, and `lost_s` with them.

        announced_s: the length that the header promises. coded_bytes: the file's bytes from its first packet on, by
        which a bare stream's length is reckoned. cut: the last packet was marked as incomplete.
        """
        at_end = bool(self._places_s) and self.decoded_s - self._last_damage_s < _AT_THE_END_S
        length_s = announced_s if announced_s is not None else self._reckoned_s(coded_bytes)
        tail_s = self._tail_s(length_s, ended_in_damage=at_end)
        hole_s = self._hole_s(length_s, tail_s)
        if at_end and len(self._places_s) == 1:  # one story, not two: the last packet is where the file was cut
            hole_s, tail_s = 0.0, tail_s + hole_s
        return (*self._hole_warning(hole_s), *self._tail_warning(announced_s, tail_s, cut=cut or at_end))

    def _damage(self, seconds: float) -> None:
        if not self._places_s or self.decoded_s - self._last_damage_s > _SAME_PLACE_S:
            self._places_s.append(self.decoded_s + self._failures_s)
        self._last_damage_s = self.decoded_s
        self._failures_s += seconds

    def _reckoned_s(self, coded_bytes: int) -> float | None:
        """A bare stream's length by its mean bit rate; only damage makes it worth asking."""
        if self.timestamps or not self._places_s or not self.good_bytes:
            return None
        reckoned_s = coded_bytes / self.good_bytes * self.decoded_s
        return reckoned_s if reckoned_s - self.decoded_s > _LEAST_GUESSED_S else None

    def _tail_s(self, length_s: float | None, *, ended_in_damage: bool) -> float:
        """What is missing at the end."""
        if length_s is None:
            return 0.0
        if self.timestamps and self._end_s is not None:
            end_s = self.decoded_s if not self._places_s and self._end_s < self.decoded_s else self._end_s
            return max(0.0, length_s - end_s)
        in_the_middle = bool(self._places_s) and not ended_in_damage
        return 0.0 if in_the_middle else max(0.0, length_s - self.decoded_s)

    def _hole_s(self, length_s: float | None, tail_s: float) -> float:
        """What is missing before the end."""
        if length_s is None:
            return self._failures_s
        missing_s = max(0.0, length_s - tail_s - self.decoded_s)
        if self._places_s:
            return missing_s
        return missing_s if self.gaps_are_loss and missing_s > _tolerance_s(length_s, cut=False) else 0.0

    def _hole_warning(self, hole_s: float) -> tuple[str, ...]:
        if hole_s < _LEAST_LOSS_S:
            return ()
        self.lost_s += hole_s
        return (f"{_seconds(hole_s)} of audio could not be decoded{self._where()}",)

    def _where(self) -> str:
        if not self._places_s:
            return ""
        n, first = len(self._places_s), f"{self._places_s[0]:.1f} s"
        return f" (damaged at {first})" if n == 1 else f" (damaged in {n} places, the first at {first})"

    def _tail_warning(self, announced_s: float | None, tail_s: float, *, cut: bool) -> tuple[str, ...]:
        present = _seconds(self.decoded_s)
        if announced_s is not None and tail_s > _tolerance_s(announced_s, cut=cut):
            self.lost_s += tail_s
            return (f"the file ends early: {_seconds(announced_s)} announced, {present} present",)
        if announced_s is None and cut:
            return (f"the file ends early, in the middle of a packet: {present} present",)
        return ()


def _tolerance_s(announced_s: float, *, cut: bool) -> float:
    """Encoders' delay and padding, and writers' rounding, are no loss."""
    return _LEAST_LOSS_S if cut else max(0.5, min(0.01 * announced_s, 2.0))


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
