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


def split_at_timestamps(tokens: Sequence[int], timestamp_begin: int, duration_s: float) -> WindowTokens:
    """Cut where two timestamps meet, as Whisper does.

    A last segment that the model began and did not end is left out of `segments` and lies after `consumed_s`.
    """
    cuts = [at for at in range(1, len(tokens)) if min(tokens[at - 1], tokens[at]) >= timestamp_begin]
    if not cuts:
        return WindowTokens((_undivided(tokens, timestamp_begin, duration_s),), duration_s)
    ended = tokens[-1] >= timestamp_begin > tokens[-2]
    edges = [0, *cuts, *([len(tokens)] if ended else [])]
    segments = tuple(_timed(tuple(tokens[start:end]), timestamp_begin) for start, end in pairwise(edges))
    return WindowTokens(segments, duration_s if ended else segments[-1].end)


def unfinished(tokens: Sequence[int], timestamp_begin: int, window: WindowTokens, duration_s: float) -> TimedTokens:
    """What the model began after `window.consumed_s` and did not end, taken to last until the window does."""
    used = sum(len(segment.tokens) for segment in window.segments)
    rest = tuple(tokens[used:])
    return TimedTokens(window.consumed_s, duration_s, tuple(token for token in rest if token < timestamp_begin))


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
