"""The rules of readable subtitles, and how many cues break each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from asr_service.formats.subtitles.pieces import columns

MAX_COLUMNS, MAX_LINES, MAX_S, MIN_S, MAX_COLUMNS_PER_S = 42, 2, 7.0, 1.0, 20.0


@dataclass(frozen=True, slots=True)
class Cue:
    """One cue as a viewer sees it."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]

    @property
    def columns_per_s(self) -> float:
        return sum(map(columns, self.lines)) / max(self.end_s - self.start_s, 0.001)


@dataclass(frozen=True, slots=True)
class Violations:
    """The number of cues, and of those that break each rule."""

    cues: int
    wide: int
    tall: int
    long: int
    short: int
    fast: int
    seconds: float
    """Time to create the cues."""

    def __add__(self, other: "Violations") -> "Violations":
        own, others = asdict(self), asdict(other)
        return Violations(**{name: own[name] + others[name] for name in own})


HEADS = (
    "cues",
    f"over {MAX_COLUMNS} columns per line",
    f"over {MAX_LINES} lines",
    f"over {MAX_S:.0f} s",
    f"under {MIN_S:.0f} s",
    f"over {MAX_COLUMNS_PER_S:.0f} columns/s",
    "seconds to create",
)
"""Table headings for the fields of `Violations`, in their order."""


def violations(cues: Sequence[Cue], seconds: float) -> Violations:
    return Violations(
        cues=len(cues),
        wide=sum(any(columns(line) > MAX_COLUMNS for line in cue.lines) for cue in cues),
        tall=sum(len(cue.lines) > MAX_LINES for cue in cues),
        long=sum(cue.end_s - cue.start_s > MAX_S + 0.001 for cue in cues),
        short=sum(cue.end_s - cue.start_s < MIN_S - 0.001 for cue in cues),
        fast=sum(cue.columns_per_s > MAX_COLUMNS_PER_S + 0.1 for cue in cues),
        seconds=seconds,
    )
