"""Plans the chunks of speech of a recording: windows of the model, or sections of several windows. Pure functions.

A recording is read in blocks. `plan_block` decides which chunks of a block are final and where the next block begins.
Blocks and chunks end in pauses, so that no word is cut in two unless the speech has no pause.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.packing import merged, pack, split_at_all_pauses, split_at_pauses
from asr_service.audio.vad import SpeechSpan

# As a fraction of the part. Parts may be short, and the pause between two languages may be anywhere.
_EARLIEST_PART_CUT: Final = 0.25


@dataclass(frozen=True, slots=True)
class Chunk:
    """Speech of one recording, without the pauses between its spans."""

    samples: NDArray[np.float32]
    """float32 [n], 16 kHz mono."""
    spans: tuple[SpeechSpan, ...]
    """The positions of the samples in the recording, in order."""
    is_part: bool = False
    """True if the recording may have several windows."""

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def to_source_time(self, time_s: float, *, is_end: bool = False) -> float:
        """Return the seconds in the recording for seconds in this chunk.

        Where two spans meet, an end belongs to the earlier span and a start to the later one.
        """
        ends = list(accumulate(len(span) for span in self.spans))
        sample = min(max(round(time_s * SAMPLE_RATE), 0), ends[-1])
        at = bisect_left(ends, sample) if is_end else min(bisect_right(ends, sample), len(ends) - 1)
        return (self.spans[at].end - (ends[at] - sample)) / SAMPLE_RATE

    def word_to_source(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return start and end in the recording of a word, which has no pause: both in the span with its middle.

        Word times are off by some hundredths of a second. At a seam between spans, such an error would otherwise
        become the whole pause that was left out.
        """
        spans = self._separate_spans()
        ends = [end / SAMPLE_RATE for end in accumulate(map(len, spans))]
        at = min(bisect_right(ends, (start_s + end_s) / 2), len(ends) - 1)
        begin = ends[at - 1] if at else 0.0
        start, end = (spans[at].start / SAMPLE_RATE + max(time - begin, 0.0) for time in (start_s, end_s))
        last = spans[at].end / SAMPLE_RATE
        return min(start, last), min(end, last)

    def to_source_span(self, start_s: float, end_s: float, quiet_s: float) -> tuple[float, float]:
        """Return start and end in the recording of a segment, which may contain pauses.

        There is no speech in the last `quiet_s` before a seam between spans, nor in the first `quiet_s` after it. So a
        segment that starts in the former starts after the pause, and one that ends in the latter ends before it.
        """
        seams = [end / SAMPLE_RATE for end in accumulate(map(len, self._separate_spans()))][:-1]
        starts = [seam for seam in seams if start_s < seam <= min(start_s + quiet_s, end_s)]
        ends = [seam for seam in seams if max(end_s - quiet_s, start_s) <= seam < end_s]
        if starts and ends:
            return self.word_to_source(start_s, end_s)
        start_s, end_s = (starts or [start_s])[-1], (ends or [end_s])[0]
        return self.to_source_time(start_s), self.to_source_time(end_s, is_end=True)

    def _separate_spans(self) -> list[SpeechSpan]:
        """Return the spans, with adjacent ones merged: no pause was left out between those."""
        return list(merged(self.spans))


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The final chunks of a block."""

    chunks: tuple[tuple[SpeechSpan, ...], ...]
    """The spans of each chunk."""
    next_start: int
    """The sample of this block at which the next block begins."""


def plan_block(
    samples: NDArray[np.float32],
    spans: Sequence[SpeechSpan],
    *,
    max_chunk: int,
    lookahead: int,
    final: bool,
) -> BlockPlan:
    """Pack a block's spans into chunks of at most `max_chunk` samples.

    `final`: the recording ends with this block. Otherwise the next block gets what it may still extend: a span that
    ends less than `lookahead` samples before the block's end, and a last chunk that begins in the block's second half,
    or else the speech after the best cut in the second half of that chunk. The next block always begins later than
    this one.
    """
    costs: dict[int, float] = {}
    pieces = [piece for span in spans for piece in split_at_all_pauses(samples, span, max_chunk, costs)]
    if final:
        return BlockPlan(tuple(pack(pieces, max_chunk, costs)), len(samples))
    final_pieces, next_start = _final_pieces(pieces, len(samples), lookahead)
    chunks = pack(final_pieces, max_chunk, costs)
    if not chunks:
        return BlockPlan((), next_start)
    half, last_start = len(samples) // 2, chunks[-1][0].start
    if last_start > half:
        return BlockPlan(tuple(chunks[:-1]), last_start)
    starts = [piece.start for piece in final_pieces if piece.start > max(half, last_start + max_chunk // 2)]
    best = min([*starts, next_start], key=lambda start: (costs.get(start, 0.0), -start))
    if best < next_start:
        next_start = best
        chunks = pack([piece for piece in final_pieces if piece.end <= next_start], max_chunk, costs)
    return BlockPlan(tuple(chunks), next_start)


def _final_pieces(pieces: list[SpeechSpan], n_samples: int, lookahead: int) -> tuple[list[SpeechSpan], int]:
    """Return the pieces that later samples cannot change, and the sample at which the next block begins."""
    edge = max(n_samples - max(lookahead, 1), 1)  # a piece that ends with the block may continue in the next
    if not pieces or pieces[-1].end <= edge:
        return pieces, edge
    if pieces[-1].start > 0:
        return pieces[:-1], pieces[-1].start
    return pieces, n_samples  # the block is full of speech, so nothing can be left for the next one


def cut_chunk(
    samples: NDArray[np.float32], spans: tuple[SpeechSpan, ...], block_start: int, *, is_part: bool = False
) -> Chunk:
    """Return the spans of a block as a chunk. Copies the samples.

    `samples` is the block, and `block_start` its first sample in the recording.
    """
    return Chunk(
        samples=np.concatenate([samples[span.start : span.end] for span in spans]),
        spans=tuple(span.shifted(block_start) for span in spans),
        is_part=is_part,
    )


def rest_of(chunk: Chunk, from_s: float) -> Chunk:
    """Return the part of a chunk from `from_s` seconds on."""
    return slice_chunk(chunk, round(from_s * SAMPLE_RATE), len(chunk.samples))


def slice_chunk(chunk: Chunk, start: int, end: int) -> Chunk:
    """Return the samples from `start` up to, but not including, `end` of a chunk."""
    spans, offset = [], 0
    for span in chunk.spans:
        first, last = max(start - offset, 0), min(end - offset, len(span))
        if first < last:
            spans.append(SpeechSpan(span.start + first, span.start + last))
        offset += len(span)
    return replace(chunk, samples=chunk.samples[start:end], spans=tuple(spans))


def first_window(section: Chunk, max_window: int) -> tuple[Chunk, Chunk | None]:
    """Return the first window of a section, of at most `max_window` samples, and the speech after it, if there is any.

    The window ends where it would if all the section were packed into windows.
    """
    if len(section.samples) <= max_window:
        return section, None
    costs: dict[int, float] = {}
    spans = _spans_in(section)
    pieces = [piece for span in spans for piece in split_at_all_pauses(section.samples, span, max_window, costs)]
    length = sum(map(len, pack(pieces, max_window, costs)[0]))
    return slice_chunk(section, 0, length), slice_chunk(section, length, len(section.samples))


def _spans_in(chunk: Chunk) -> list[SpeechSpan]:
    """Return the spans of a chunk as samples of the chunk."""
    ends = list(accumulate(len(span) for span in chunk.spans))
    return [SpeechSpan(end - len(span), end) for span, end in zip(chunk.spans, ends, strict=True)]


def split_chunk(chunk: Chunk, max_part: int) -> list[Chunk]:
    """Split a chunk at its pauses, and spans longer than `max_part` samples where they are quietest."""
    pieces = [
        piece
        for span in _spans_in(chunk)
        for piece in split_at_pauses(chunk.samples, span, max_part, _EARLIEST_PART_CUT)
    ]
    return [slice_chunk(chunk, piece.start, piece.end) for piece in pieces]


def join_chunks(parts: Sequence[Chunk]) -> Chunk:
    """Join parts of a recording, given in order, into one chunk."""
    return replace(
        parts[0],
        samples=np.concatenate([part.samples for part in parts]),
        spans=tuple(merged(span for part in parts for span in part.spans)),
    )
