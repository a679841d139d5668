"""Figures about differences of word times, and the cells of a table that shows them."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Final

from benchmarks.words.compare import Span, spread

_EDGES: Final = ("start", "end")
HEADS: Final = [
    f"{edge}: {name}" for edge in _EDGES for name in ("median, 95th percentile", "above 0.1 s", "median with sign")
]
"""Heads of the cells after the number of words."""


def cells(pairs: Sequence[Span]) -> list[str]:
    """Return the number of differences, and the cells for starts and for ends."""
    found = [str(len(pairs))]
    for edge in zip(*pairs, strict=True):
        about = spread(edge)
        found.append(f"{about.median_s * 1000:.0f}, {about.p95_s * 1000:.0f} ms")
        found += [f"{100 * about.far:.1f} %", f"{median(edge) * 1000:+.0f} ms"]
    return found


def figures(pairs: Sequence[Span]) -> dict[str, dict[str, float]]:
    """Return the same figures by their names."""
    edges = zip(_EDGES, zip(*pairs, strict=True), strict=True)
    return {name: asdict(spread(edge)) | {"signed_median_s": median(edge)} for name, edge in edges}
