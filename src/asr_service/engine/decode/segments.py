"""Cuts a window's tokens into segments at their timestamps. Pure functions.

All times are seconds from the start of the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

TIME_PRECISION_S: Final = 0.02
"""One step of Whisper's timestamp tokens."""


@dataclass(frozen=True, slots=True)
class TimedTokens:
    """The tokens of a segment, timestamp tokens included, and its start and end."""

    start: float
    end: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WindowTokens:
    """The tokens of a window, cut into segments."""

    segments: tuple[TimedTokens, ...]
    consumed_s: float
    """How far the window is transcribed. Less than its duration if the model stopped before the end."""
    unfinished: TimedTokens | None
    """A segment that the model began after `consumed_s` and did not end. It is taken to last until the window ends."""

    @property
    def parts(self) -> tuple[TimedTokens, ...]:
        """All segments, the unfinished one included."""
        return self.segments if self.unfinished is None else (*self.segments, self.unfinished)


def split_at_timestamps(tokens: Sequence[int], timestamp_begin: int, duration_s: float) -> WindowTokens:
    """Cut between two adjacent timestamp tokens, as Whisper does.

    Tokens from `timestamp_begin` on are timestamps. If the model began a last segment and did not end it, that segment
    is `unfinished`.
    """
    cuts = [at for at in range(1, len(tokens)) if min(tokens[at - 1], tokens[at]) >= timestamp_begin]
    if not cuts:
        return WindowTokens((_undivided(tokens, timestamp_begin, duration_s),), duration_s, None)
    ended = tokens[-1] >= timestamp_begin > tokens[-2]
    edges = [0, *cuts, *([len(tokens)] if ended else [])]
    segments = tuple(_timed(tuple(tokens[start:end]), timestamp_begin) for start, end in pairwise(edges))
    if ended:
        return WindowTokens(segments, duration_s, None)
    start_s = max((tokens[cuts[-1]] - timestamp_begin) * TIME_PRECISION_S, segments[-1].end)
    text = tuple(token for token in tokens[cuts[-1] :] if token < timestamp_begin)
    unfinished = TimedTokens(start_s, max(start_s, duration_s), text) if text else None
    return WindowTokens(segments, segments[-1].end, unfinished)


def _timed(tokens: tuple[int, ...], timestamp_begin: int) -> TimedTokens:
    return TimedTokens(
        (tokens[0] - timestamp_begin) * TIME_PRECISION_S, (tokens[-1] - timestamp_begin) * TIME_PRECISION_S, tokens
    )


def _undivided(tokens: Sequence[int], timestamp_begin: int, duration_s: float) -> TimedTokens:
    """Return all tokens as one segment. Without a timestamp at its end, it lasts until the window ends."""
    first, last = (tokens[at] - timestamp_begin if tokens else -1 for at in (0, -1))  # negative for text tokens
    start = max(first, 0) * TIME_PRECISION_S
    end = last * TIME_PRECISION_S if last > max(first, 0) else duration_s
    return TimedTokens(min(start, end), end, tuple(tokens))
