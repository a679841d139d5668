"""Packs spans of speech into groups that fit one window of the model. Pure functions.

Words at a cut lose their context. So groups end in silence or in good pauses as far as possible, and there are few.
"""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.vad import SpeechSpan

_FRAME: Final = SAMPLE_RATE // 100
_PAUSE_FRAMES: Final = 15
"""150 ms: a pause between two words is longer than a stop inside a word."""
_EARLIEST_CUT: Final = 0.6
"""The earliest cut in a span without pauses, as a fraction of the longest group."""
_APART_FRAMES: Final = 100
"""Pauses in one span are at least a second apart."""
_PAUSE_DB: Final = 12.0
"""A pause is this much quieter than loud speech of the same span."""
_SILENT_DB: Final = 35.0
"""So much quieter is as good as silence."""

_GROUP_COST: Final = 0.35
_PAUSE_COST: Final = 0.15
_LOUD_PAUSE_COST: Final = 0.6
"""What a cut in a pause costs more if the pause is hardly quieter than speech."""
_NO_PAUSE_COST: Final = 1.5
_SHORT_S: Final = 5.0
_SHORT_COST_PER_S: Final = 0.1
"""The cost of each second that a group lacks to `_SHORT_S`: the model makes more errors in short windows."""


def split_at_all_pauses(
    samples: NDArray[np.float32], span: SpeechSpan, max_length: int, costs: MutableMapping[int, float]
) -> list[SpeechSpan]:
    """Cut a span in its pauses, and where it is quietest if there is none for `max_length` samples.

    Notes the cost of each cut in `costs`, by its sample.
    """
    edges = [span.start]
    for at, cost in sorted(_pauses(samples[span.start : span.end]).items()):
        costs[span.start + at] = cost
        edges.append(span.start + at)
    pieces: list[SpeechSpan] = []
    for start, end in zip(edges, [*edges[1:], span.end], strict=True):
        parts = list(split_at_pauses(samples, SpeechSpan(start, end), max_length))
        costs.update(dict.fromkeys((part.end for part in parts[:-1]), _NO_PAUSE_COST))
        pieces += parts
    return pieces


def _pauses(samples: NDArray[np.float32]) -> dict[int, float]:
    """Return the middles of the pauses in a span, as samples, and the cost of a cut there."""
    n_frames = len(samples) // _FRAME
    if n_frames < 2 * _APART_FRAMES:
        return {}
    energy = np.square(samples[: n_frames * _FRAME].reshape(n_frames, _FRAME)).mean(axis=1) + 1e-10
    loudness = 10 * np.log10(np.convolve(energy, np.full(_PAUSE_FRAMES, 1 / _PAUSE_FRAMES), mode="same"))
    quietness = 10 * np.log10(np.quantile(energy, 0.8)) - loudness
    pauses: dict[int, float] = {}
    is_free = np.zeros(n_frames, bool)
    is_free[_APART_FRAMES:-_APART_FRAMES] = True
    for frame in np.argsort(-quietness):
        if quietness[frame] < _PAUSE_DB:
            break
        if is_free[frame]:
            is_free[max(frame - _APART_FRAMES, 0) : frame + _APART_FRAMES] = False
            loud = min(max((_SILENT_DB - quietness[frame]) / (_SILENT_DB - _PAUSE_DB), 0.0), 1.0)
            pauses[int(frame) * _FRAME + _FRAME // 2] = _PAUSE_COST + _LOUD_PAUSE_COST * float(loud)
    return pauses


def pack(pieces: Sequence[SpeechSpan], max_length: int, costs: Mapping[int, float]) -> list[tuple[SpeechSpan, ...]]:
    """Group pieces in order, each group of at most `max_length` samples, at the least cost in all.

    `costs` has the cost of a cut by its sample; other cuts are free. Adjacent pieces of a group are joined. A piece
    longer than `max_length` is a group of its own.
    """
    best = [0.0]
    first_of_last: list[int] = []
    for n_pieces in range(1, len(pieces) + 1):
        choices: list[tuple[float, int]] = []
        lengths = accumulate(len(piece) for piece in reversed(pieces[:n_pieces]))
        for first, length in zip(range(n_pieces - 1, -1, -1), lengths, strict=False):
            if choices and length > max_length:
                break
            cut = costs.get(pieces[first].start, 0.0) if first and pieces[first - 1].end == pieces[first].start else 0.0
            lacking_s = max(_SHORT_S - length / SAMPLE_RATE, 0.0)
            choices.append((best[first] + _GROUP_COST + cut + _SHORT_COST_PER_S * lacking_s, -first))
        cost, first = min(choices)
        best.append(cost)
        first_of_last.append(-first)
    groups: list[tuple[SpeechSpan, ...]] = []
    end = len(pieces)
    while end:
        start = first_of_last[end - 1]
        groups.append(tuple(merged(pieces[start:end])))
        end = start
    return groups[::-1]


def split_at_pauses(
    samples: NDArray[np.float32], span: SpeechSpan, max_chunk: int, earliest: float = _EARLIEST_CUT
) -> Iterable[SpeechSpan]:
    """Cut a span longer than `max_chunk` samples where it is quietest.

    Each piece is at least `earliest` times `max_chunk` long, except the last.
    """
    start = span.start
    while span.end - start > max_chunk:
        cut = start + _quietest(samples[start : start + max_chunk], earliest)
        yield SpeechSpan(start, cut)
        start = cut
    yield SpeechSpan(start, span.end)


def _quietest(samples: NDArray[np.float32], earliest: float) -> int:
    """Return the middle of the quietest 150 ms in `samples`, after the fraction `earliest`, as an offset."""
    begin = int(len(samples) * earliest)
    tail = samples[begin:]
    n_frames = len(tail) // _FRAME
    energy = np.square(tail[: n_frames * _FRAME].reshape(n_frames, _FRAME)).mean(axis=1)
    smooth = np.convolve(energy, np.ones(_PAUSE_FRAMES), mode="valid")
    return begin + (int(np.argmin(smooth)) + _PAUSE_FRAMES // 2) * _FRAME + _FRAME // 2


def merged(spans: Iterable[SpeechSpan]) -> Iterable[SpeechSpan]:
    """Yield the spans, with adjacent ones merged."""
    last: SpeechSpan | None = None
    for span in spans:
        if last and last.end == span.start:
            last = SpeechSpan(last.start, span.end)
            continue
        if last:
            yield last
        last = span
    if last:
        yield last
