"""A window's tokens, cut into segments at the timestamps among them. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

TIME_PRECISION_S = 0.02
"""What one step of Whisper's timestamp tokens is worth."""


@dataclass(frozen=True, slots=True)
class TimedTokens:
    """Tokens (timestamps included) and the seconds in their window that they stand for."""

    start: float
    end: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WindowTokens:
    segments: tuple[TimedTokens, ...]
    consumed_s: float
    """Up to where the window is transcribed; less than its duration where the model broke off before the end."""
    unfinished: TimedTokens | None
    """What the model began after `consumed_s` and did not end, taken to last until the window does."""

    @property
    def parts(self) -> tuple[TimedTokens, ...]:
        """All that the model wrote."""
        return self.segments if self.unfinished is None else (*self.segments, self.unfinished)


def split_at_timestamps(tokens: Sequence[int], timestamp_begin: int, duration_s: float) -> WindowTokens:
    """Cut where two timestamps meet, as Whisper does.

    A last segment that the model began and did not end is not one of `segments` and lies after `consumed_s`.
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
    begun = TimedTokens(start_s, max(start_s, duration_s), text) if text else None
    return WindowTokens(segments, segments[-1].end, begun)


def _timed(tokens: tuple[int, ...], timestamp_begin: int) -> TimedTokens:
    return TimedTokens(
        (tokens[0] - timestamp_begin) * TIME_PRECISION_S, (tokens[-1] - timestamp_begin) * TIME_PRECISION_S, tokens
    )


def _undivided(tokens: Sequence[int], timestamp_begin: int, duration_s: float) -> TimedTokens:
    """One segment; the window's end stands in for the one that the model did not write."""
    first, last = (tokens[at] - timestamp_begin if tokens else -1 for at in (0, -1))  # negative where it is text
    start = max(first, 0) * TIME_PRECISION_S
    end = last * TIME_PRECISION_S if last > max(first, 0) else duration_s
    return TimedTokens(min(start, end), end, tuple(tokens))
