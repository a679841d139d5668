"""Reads the headers of MLP and TrueHD: whether the last access unit is incomplete. FFmpeg leaves out such a unit."""

from typing import Final

HEADER_BYTES: Final = 4
_STEPS: Final = frozenset({40, 80, 160})
"""Samples of a unit, by the sample rate."""
_TIMES: Final = 1 << 16


def is_cut_off(last_unit: bytes, rest: bytes, n_rest: int) -> bool:
    """Return whether the bytes after the last complete unit are the beginning of the next one.

    `rest` is the first of these bytes, `n_rest` their number. A unit begins with its size, in words of two bytes, and
    its time.
    """
    if min(len(last_unit), len(rest)) < HEADER_BYTES:
        return n_rest > 0
    n_bytes = 2 * (int.from_bytes(rest[:2], "big") & 0x0FFF)
    step = int.from_bytes(rest[2:4], "big") - int.from_bytes(last_unit[2:4], "big")
    return n_bytes > n_rest and step % _TIMES in _STEPS
