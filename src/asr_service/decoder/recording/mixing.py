"""Decides how the channels of a recording become one.

Channels are mixed, except where the mix cancels or has no number: if one side of a stereo recording is inverted, their
sum is silence, and if one side is NaN, so is their sum. There the loudest channel is taken. The decision is made for
each group of samples.
"""

import math
import operator
from collections.abc import Sequence
from typing import Final, Literal

from av.audio.frame import AudioFrame

_N_MEASURED: Final = 1024
"""Samples of each channel that are measured in each group."""
_CANCELLED: Final = 0.05
"""The mix cancels if its power is below this fraction of the power that independent channels give: -13 dB."""
_HEALTHY: Final = 0.5
"""After a cancelled group, channels are mixed again from this fraction on."""
_SILENCE: Final = 1e-7
"""Mean power of a channel at full scale 1, below which nothing is decided: -70 dB."""
_MUCH_LOUDER: Final = 10.0
_NOT_MIXED: Final = frozenset({"LFE", "LFE2"})

_FORMATS: Final[dict[str, tuple[Literal["B", "h", "i", "q", "f", "d"], float]]] = {
    "u8": ("B", 128.0), "s16": ("h", 32768.0), "s32": ("i", 2.0**31), "s64": ("q", 2.0**63),
    "flt": ("f", 1.0), "dbl": ("d", 1.0),
}  # fmt: skip
"""Type code and full scale of each sample format."""


class Mixing:
    """Remembers the decision between the groups of samples of one format."""

    def __init__(self) -> None:
        self.channel: int | None = None
        """The channel to take; None to mix all."""

    def decide(self, frame: AudioFrame) -> None:
        """Set `channel` for this group."""
        names = [channel.name for channel in frame.layout.channels]
        mixed = [i for i in range(frame.layout.nb_channels) if i >= len(names) or names[i] not in _NOT_MIXED]
        if len(mixed) < 2 or not frame.samples:  # noqa: PLR2004 - two channels are needed to cancel
            return
        samples = {i: _samples(frame, i) for i in mixed}
        powers = {i: _power(values) for i, values in samples.items()}
        if not all(map(math.isfinite, powers.values())):
            powers = {i: _power([value if math.isfinite(value) else 0.0 for value in samples[i]]) for i in mixed}
            self.channel = max(powers, key=powers.__getitem__)
            return
        loudest = max(powers, key=powers.__getitem__)
        if powers[loudest] < _SILENCE:
            return
        sums = [sum(values) for values in zip(*samples.values(), strict=True)]
        ratio = _power(sums) / sum(powers.values())
        if ratio > (_CANCELLED if self.channel is None else _HEALTHY):
            self.channel = None
        elif self.channel is None or powers[loudest] > _MUCH_LOUDER * powers[self.channel]:
            self.channel = loudest


def _power(values: Sequence[float]) -> float:
    """Return the mean of the squares."""
    total: float = sum(map(operator.mul, values, values))
    return total / len(values)


def _samples(frame: AudioFrame, channel: int) -> list[float]:
    """Return some samples of a channel, evenly spaced, at full scale 1."""
    name = frame.format.packed.name
    code, full_scale = _FORMATS[name]
    n_channels = 1 if frame.format.is_planar else frame.layout.nb_channels
    plane = memoryview(frame.planes[channel if frame.format.is_planar else 0]).cast("B")
    n_bytes = frame.samples * n_channels * frame.format.bytes
    step = max(frame.samples // _N_MEASURED, 1) * n_channels
    offset = full_scale if code == "B" else 0.0
    start = 0 if frame.format.is_planar else channel
    return [(value - offset) / full_scale for value in plane[:n_bytes].cast(code)[start::step].tolist()]
