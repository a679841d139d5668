"""Breaks a cue into as few lines as possible, at good places and of similar length. Pure functions."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from asr_service.formats.subtitles.pieces import Piece

_UNEVEN = 30.0
"""The cost of a line that differs from the mean width by the full width. A break costs 0 to 15 (clauses.py)."""
_ORPHAN = 6.0
"""The cost of a line with a single short piece."""
_TOP_HEAVY = 1.0
"""The cost of a first line that is wider than the mean."""


def break_lines(pieces: Sequence[Piece], costs: Sequence[float], max_width: int) -> list[Sequence[Piece]]:
    """Return the lines. `costs[i]` is the cost of a break after `pieces[i]`.

    A line is wider than `max_width` only if it has a single piece that is wider.
    """
    n_lines = _count_lines(pieces, max_width)
    if n_lines == 1:
        return [pieces]
    edges = [0, *_best_breaks(pieces, costs, max_width, n_lines), len(pieces)]
    return [pieces[start:end] for start, end in pairwise(edges)]


def _count_lines(pieces: Sequence[Piece], max_width: int) -> int:
    """Return how many lines pieces need if each line is filled before the next begins."""
    n_lines = used = 0
    for piece in pieces:
        joined = used + piece.spaced + piece.width
        if n_lines and joined <= max_width:
            used = joined
        else:
            n_lines += 1
            used = piece.width
    return n_lines


def _best_breaks(pieces: Sequence[Piece], costs: Sequence[float], max_width: int, n_lines: int) -> tuple[int, ...]:
    """Return where the second line and those after it begin."""
    ends = list(accumulate(piece.spaced + piece.width for piece in pieces))
    even = ends[-1] / n_lines

    def width(start: int, end: int) -> int:
        return ends[end - 1] - (ends[start - 1] + pieces[start].spaced if start else pieces[0].spaced)

    def line_cost(start: int, end: int) -> float | None:
        wide = width(start, end)
        if wide > max_width and end - start > 1:
            return None
        orphan = _ORPHAN * (end - start == 1 and wide < even / 2)
        top = _TOP_HEAVY * (start == 0 and wide > even)
        return _UNEVEN * ((wide - even) / max_width) ** 2 + orphan + top

    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for number in range(n_lines):
        reached: dict[int, tuple[float, tuple[int, ...]]] = {}
        ending = [len(pieces)] if number == n_lines - 1 else range(1, len(pieces))
        for start, (so_far, breaks) in best.items():
            for end in ending:
                own = line_cost(start, end) if end > start else None
                if own is None:
                    continue
                total = so_far + own + (costs[end - 1] if end < len(pieces) else 0.0)
                if end not in reached or total < reached[end][0]:
                    reached[end] = (total, (*breaks, end) if end < len(pieces) else breaks)
        best = reached
    return best[len(pieces)][1]
