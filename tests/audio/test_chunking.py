"""Spans of speech are packed into chunks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import (
    BlockPlan,
    Chunk,
    cut_chunk,
    first_window,
    join_chunks,
    plan_block,
    rest_of,
    split_chunk,
)
from asr_service.audio.packing import pack, split_at_pauses
from asr_service.audio.vad import SpeechSpan

SECOND = SAMPLE_RATE
MAX = 30 * SECOND


def span(start_s: float, end_s: float) -> SpeechSpan:
    return SpeechSpan(int(start_s * SECOND), int(end_s * SECOND))


def noise(seconds: float, *, pauses: tuple[float, ...] = ()) -> np.ndarray:
    """Return noise that is quiet for 0.3 s around each pause."""
    samples = np.random.default_rng(0).standard_normal(int(seconds * SECOND)).astype(np.float32)
    for pause in pauses:
        samples[int((pause - 0.15) * SECOND) : int((pause + 0.15) * SECOND)] *= 0.01
    return samples


def plan(samples: np.ndarray, spans: list[SpeechSpan], *, final: bool) -> BlockPlan:
    return plan_block(samples, spans, max_chunk=MAX, lookahead=SECOND, final=final)


def test_packing_makes_few_groups_of_whole_spans():
    """Groups have at most 30 s. No more groups than needed are made, and none is very short."""
    spans = [span(0, 12), span(20, 30), span(40, 49), span(60, 89)]
    groups = pack(spans, MAX, {})
    assert len(groups) == 3
    assert [piece for group in groups for piece in group] == spans
    assert pack([span(0, 28), span(30, 33), span(40, 60)], MAX, {}) == [(span(0, 28),), (span(30, 33), span(40, 60))]


def test_a_cut_in_silence_is_better_than_one_in_speech():
    """The second group could take more of the speech, but would then end within it."""
    pieces = [span(0, 10), span(10, 20), span(20, 28), span(40, 52)]
    costs = {10 * SECOND: 0.2, 20 * SECOND: 0.7}
    assert pack(pieces, 20 * SECOND, costs) == [(span(0, 10),), (span(10, 28),), (span(40, 52),)]


def test_a_chunk_ends_in_the_best_pause():
    """Of two pauses in speech, the quieter one is chosen, also if the chunk is shorter for it."""
    samples = noise(40, pauses=(14, 27))
    samples[int(26.8 * SECOND) : int(27.2 * SECOND)] *= 10
    chunks = plan(samples, [span(0, 40)], final=True).chunks
    assert [chunk[0].end / SECOND for chunk in chunks] == pytest.approx([14, 40], abs=0.2)


def test_speech_without_silence_is_cut_where_it_is_quietest():
    """A span of 70 s is cut in short pauses, late in each chunk, so that no word is cut in two."""
    samples = noise(70, pauses=(10, 27, 51))
    cuts = [piece.end / SECOND for piece in split_at_pauses(samples, span(0, 70), MAX)]
    assert cuts == pytest.approx([27, 51, 70], abs=0.15)


def test_every_span_is_in_exactly_one_chunk():
    """Each span is transcribed once, complete and in order, wherever the blocks end."""
    spans = [span(1, 9), span(11, 58), span(59.2, 60.4), span(61, 100), span(130, 131), span(150, 179)]
    samples = noise(180)
    found: list[SpeechSpan] = []
    start = 0
    while start < len(samples):
        block = samples[start : start + 60 * SECOND]
        final = start + len(block) == len(samples)
        here = [SpeechSpan(max(each.start - start, 0), min(each.end - start, len(block))) for each in spans]
        planned = plan(block, [each for each in here if each.start < each.end], final=final)
        assert planned.next_start > 0
        found += [each.shifted(start) for chunk in planned.chunks for each in chunk]
        start += planned.next_start
    assert sum(map(len, found)) == sum(map(len, spans))
    assert all(before.end <= after.start for before, after in pairwise(found))


def test_a_span_at_the_end_of_a_block_is_left_for_the_next_block():
    """Speech that may continue is not cut at the end of a block."""
    planned = plan(noise(60), [span(2, 31), span(50, 60)], final=False)
    assert planned.chunks == ((span(2, 31),),)
    assert planned.next_start == 50 * SECOND


def test_without_lookahead_a_span_that_ends_with_the_block_is_left_for_the_next():
    """The end of a block does not end a span, even if a span needs no silence to end: the word may continue."""
    spans = [span(5, 20), span(58, 60)]
    block = plan_block(noise(60), spans, max_chunk=MAX, lookahead=0, final=False)
    assert [chunk[-1] for chunk in block.chunks] == [span(5, 20)]
    assert block.next_start == 58 * SECOND


def test_the_last_block_leaves_nothing_for_later():
    """At the end of the recording every span is in a chunk."""
    planned = plan(noise(60), [span(2, 31), span(50, 60)], final=True)
    assert planned.chunks == ((span(2, 31),), (span(50, 60),))


def test_a_block_full_of_speech_gives_chunks():
    """Speech without a pause gives chunks, and the next block begins later."""
    planned = plan(noise(60, pauses=(28, 55)), [span(0, 60)], final=False)
    assert len(planned.chunks) == 2
    assert planned.next_start / SECOND == pytest.approx(55, abs=0.2)


def test_a_silent_block_is_skipped_up_to_the_lookahead():
    """It has no chunks, and the next block includes the last second again, where speech may begin."""
    planned = plan(noise(60), [], final=False)
    assert planned == BlockPlan((), 59 * SECOND)


def test_chunk_times_are_mapped_to_the_recording():
    """Omitted pauses are added; where spans meet, an end is in the earlier span and a start in the later one."""
    chunk = cut_chunk(noise(20), (span(2, 5), span(10, 14)), block_start=100 * SECOND)
    assert chunk.duration_s == 7
    assert chunk.to_source_time(0) == 102
    assert chunk.to_source_time(3, is_end=True) == 105
    assert chunk.to_source_time(3) == 110
    assert chunk.to_source_time(7, is_end=True) == 114
    assert chunk.to_source_time(99, is_end=True) == 114


@pytest.mark.parametrize("from_s", [0.0, 1.5, 3.0, 4.25])
def test_the_rest_of_a_chunk_keeps_its_times(from_s: float):
    """The same samples have the same times in the recording."""
    chunk = cut_chunk(noise(20), (span(2, 5), span(10, 14)), block_start=0)
    rest = rest_of(replace(chunk, is_part=True), from_s)
    assert rest.is_part
    assert isinstance(rest, Chunk)
    assert np.array_equal(rest.samples, chunk.samples[int(from_s * SECOND) :])
    assert rest.to_source_time(1.0) == chunk.to_source_time(from_s + 1.0)


def test_the_parts_of_a_chunk_join_to_the_chunk():
    """A chunk is split at pauses, and long spans where they are quietest. Joined, samples and times are the same."""
    samples = noise(28, pauses=(4, 9))
    chunk = Chunk(samples, (span(10, 24), span(60, 70), span(71, 75)))
    parts = split_chunk(chunk, 6 * SAMPLE_RATE)
    assert all(len(part.spans) >= 1 and part.duration_s <= 6 for part in parts)
    assert {60 * SAMPLE_RATE, 71 * SAMPLE_RATE} <= {part.spans[0].start for part in parts}
    whole = join_chunks(parts)
    assert whole.spans == chunk.spans
    assert np.array_equal(whole.samples, chunk.samples)
    assert join_chunks(parts[-2:]).to_source_time(0) == parts[-2].to_source_time(0)


def test_the_first_window_of_a_section_ends_in_its_best_pause():
    """Both parts together are the section, with its times. A section that fits is not divided."""
    samples = noise(50.0, pauses=(18.0, 35.0))
    section = Chunk(samples, (span(100, 130), span(140, 160)))
    window, after = first_window(section, 22 * SAMPLE_RATE)
    assert window.duration_s == pytest.approx(18.0, abs=0.5)
    assert after is not None
    joined = join_chunks([window, after])
    assert joined.spans == section.spans
    assert np.array_equal(joined.samples, samples)
    assert first_window(window, 22 * SAMPLE_RATE) == (window, None)


def test_a_long_chunk_ends_at_the_best_cut_of_the_second_half_of_its_block():
    """A chunk that fills the block would end where the block does. So it ends in a pause, and the rest is for later."""
    samples = noise(60.0, pauses=(20.0, 44.0))
    planned = plan_block(samples, [span(0, 60)], max_chunk=60 * SECOND, lookahead=SECOND, final=False)
    assert planned.next_start / SECOND == pytest.approx(44.0, abs=0.1)
    assert planned.chunks == ((SpeechSpan(0, planned.next_start),),)
