"""Spans of speech, packed into windows that the model takes. Pure functions.

A recording comes in blocks; `plan_block` says which chunks of a block are settled and where the next block has to
begin, so that neither a block's edge nor a chunk's ever falls into a word if there is any pause to cut at.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.vad import SpeechSpan

_FRAME = SAMPLE_RATE // 100
_PAUSE_FRAMES = 15  # 150 ms: the gap between two words is longer than the stop inside one
_EARLIEST_CUT = 0.6  # of a chunk; an earlier cut would waste the window
_EARLIEST_STRETCH = 0.25  # of a stretch: none is wasted, and the pause that parts two speakers may be anywhere


@dataclass(frozen=True, slots=True)
class Chunk:
    """Speech of one recording, its pauses left out, that fits one window.

    `samples` is float32 [n], 16 kHz mono; `spans` says where in the recording they come from, in order.
    """

    samples: NDArray[np.float32]
    spans: tuple[SpeechSpan, ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def to_source_time(self, time_s: float, *, is_end: bool = False) -> float:
        """Seconds in the recording for seconds in this chunk. Where two spans meet, an end belongs to the earlier."""
        ends = list(accumulate(len(span) for span in self.spans))
        sample = min(max(round(time_s * SAMPLE_RATE), 0), ends[-1])
        at = bisect_left(ends, sample) if is_end else min(bisect_right(ends, sample), len(ends) - 1)
        return (self.spans[at].end - (ends[at] - sample)) / SAMPLE_RATE

    def word_to_source(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Start and end in the recording of what was said without a pause: in the span that holds its middle.

        Times are off by some hundredths of a second, which at a seam would be the whole pause that was left out.
        """
        spans = self._apart()
        ends = [end / SAMPLE_RATE for end in accumulate(map(len, spans))]
        at = min(bisect_right(ends, (start_s + end_s) / 2), len(ends) - 1)
        begin = ends[at - 1] if at else 0.0
        start, end = (spans[at].start / SAMPLE_RATE + max(time - begin, 0.0) for time in (start_s, end_s))
        last = spans[at].end / SAMPLE_RATE
        return min(start, last), min(end, last)

    def to_source_span(self, start_s: float, end_s: float, quiet_s: float) -> tuple[float, float]:
        """Start and end in the recording of what may hold pauses. The last `quiet_s` before a seam and the first after
        it hold no speech: what begins in the former begins after the pause, what ends in the latter ended before it.
        """
        seams = [end / SAMPLE_RATE for end in accumulate(map(len, self._apart()))][:-1]
        begins = [seam for seam in seams if start_s < seam <= min(start_s + quiet_s, end_s)]
        ended = [seam for seam in seams if max(end_s - quiet_s, start_s) <= seam < end_s]
        if begins and ended:
            return self.word_to_source(start_s, end_s)
        start_s, end_s = (begins or [start_s])[-1], (ended or [end_s])[0]
        return self.to_source_time(start_s), self.to_source_time(end_s, is_end=True)

    def _apart(self) -> list[SpeechSpan]:
        """The spans, those joined between which nothing was left out: there, speech may go on."""
        apart: list[SpeechSpan] = []
        for span in self.spans:
            if apart and apart[-1].end == span.start:
                apart[-1] = SpeechSpan(apart[-1].start, span.end)
            else:
                apart.append(span)
        return apart


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """A block's chunks, each the spans it is made of, and `cut`, the sample that the next block begins with."""

    chunks: tuple[tuple[SpeechSpan, ...], ...]
    cut: int


def plan_block(
    samples: NDArray[np.float32],
    spans: Sequence[SpeechSpan],
    *,
    max_chunk: int,
    settled_after: int,
    final: bool,
) -> BlockPlan:
    """Pack a block's spans into chunks of at most `max_chunk` samples.

    `final` says that the recording ends with this block. Until then, what may go on in the next block is left for it:
    a span that ends less than `settled_after` samples before the edge, and a last chunk with room in it. The next
    block always begins later than this one.
    """
    pieces = [piece for span in spans for piece in split_at_pauses(samples, span, max_chunk)]
    if final:
        return BlockPlan(tuple(pack(pieces, max_chunk)), len(samples))
    settled, cut = _settle(pieces, len(samples), settled_after)
    chunks = list(pack(settled, max_chunk))
    if chunks and (start := chunks[-1][0].start) > len(samples) // 2:
        cut = start
        del chunks[-1]
    return BlockPlan(tuple(chunks), cut)


def _settle(pieces: list[SpeechSpan], n_samples: int, settled_after: int) -> tuple[list[SpeechSpan], int]:
    edge = max(n_samples - max(settled_after, 1), 1)  # what ends with the block may go on in the next
    if not pieces or pieces[-1].end <= edge:
        return pieces, edge
    if pieces[-1].start > 0:
        return pieces[:-1], pieces[-1].start
    return pieces, n_samples  # a block shorter than a chunk and full of speech: it cannot wait for more


def pack(spans: Iterable[SpeechSpan], max_chunk: int) -> Iterable[tuple[SpeechSpan, ...]]:
    """Group spans, in order, into as few groups of at most `max_chunk` samples as filling one by one gives."""
    group: list[SpeechSpan] = []
    for span in spans:
        if group and sum(map(len, group)) + len(span) > max_chunk:
            yield tuple(group)
            group = []
        group.append(span)
    if group:
        yield tuple(group)


def split_at_pauses(
    samples: NDArray[np.float32], span: SpeechSpan, max_chunk: int, earliest: float = _EARLIEST_CUT
) -> Iterable[SpeechSpan]:
    """Cut a span longer than `max_chunk` where it is quietest, each piece at `earliest` of that length or later."""
    start = span.start
    while span.end - start > max_chunk:
        cut = start + _quietest(samples[start : start + max_chunk], earliest)
        yield SpeechSpan(start, cut)
        start = cut
    yield SpeechSpan(start, span.end)


def _quietest(samples: NDArray[np.float32], earliest: float) -> int:
    """The middle of the quietest 150 ms in the last part of `samples`, as an offset into them."""
    begin = int(len(samples) * earliest)
    tail = samples[begin:]
    n_frames = len(tail) // _FRAME
    energy = np.square(tail[: n_frames * _FRAME].reshape(n_frames, _FRAME)).mean(axis=1)
    smooth = np.convolve(energy, np.ones(_PAUSE_FRAMES), mode="valid")
    return begin + (int(np.argmin(smooth)) + _PAUSE_FRAMES // 2) * _FRAME + _FRAME // 2


def cut_chunk(samples: NDArray[np.float32], spans: tuple[SpeechSpan, ...], block_start: int) -> Chunk:
    """The chunk of these spans of a block that begins at sample `block_start` of its recording. Copies."""
    return Chunk(
        samples=np.concatenate([samples[span.start : span.end] for span in spans]),
        spans=tuple(span.shifted(block_start) for span in spans),
    )


def rest_of(chunk: Chunk, from_s: float) -> Chunk:
    """The part of a chunk from `from_s` seconds on."""
    return part_of(chunk, round(from_s * SAMPLE_RATE), len(chunk.samples))


def part_of(chunk: Chunk, first: int, last: int) -> Chunk:
    """The samples `first` up to, not including, `last` of a chunk."""
    spans, passed = [], 0
    for span in chunk.spans:
        start, end = max(first - passed, 0), min(last - passed, len(span))
        if start < end:
            spans.append(SpeechSpan(span.start + start, span.start + end))
        passed += len(span)
    return Chunk(chunk.samples[first:last], tuple(spans))


def stretches_of(chunk: Chunk, max_stretch: int) -> list[Chunk]:
    """A chunk cut at its pauses, and a span longer than `max_stretch` samples where it is quietest."""
    ends = list(accumulate(len(span) for span in chunk.spans))
    own = [SpeechSpan(end - len(span), end) for span, end in zip(chunk.spans, ends, strict=True)]
    pieces = [piece for span in own for piece in split_at_pauses(chunk.samples, span, max_stretch, _EARLIEST_STRETCH)]
    return [part_of(chunk, piece.start, piece.end) for piece in pieces]


def joined(parts: Sequence[Chunk]) -> Chunk:
    """Parts of a recording, in order, as one chunk."""
    return Chunk(
        np.concatenate([part.samples for part in parts]), tuple(_merged(span for part in parts for span in part.spans))
    )


def _merged(spans: Iterable[SpeechSpan]) -> Iterable[SpeechSpan]:
    """Without the seams between spans that touch."""
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
