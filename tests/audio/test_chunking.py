"""Spans of speech, packed into windows."""

from itertools import pairwise

import numpy as np
import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import (
    BlockPlan,
    Chunk,
    cut_chunk,
    joined,
    pack,
    plan_block,
    rest_of,
    split_at_pauses,
    stretches_of,
)
from asr_service.audio.vad import SpeechSpan

SECOND = SAMPLE_RATE
MAX = 30 * SECOND


def span(start_s: float, end_s: float) -> SpeechSpan:
    return SpeechSpan(int(start_s * SECOND), int(end_s * SECOND))


def noise(seconds: float, *, pauses: tuple[float, ...] = ()) -> np.ndarray:
    """Loud all through, but for 0.3 s around each pause."""
    samples = np.random.default_rng(0).standard_normal(int(seconds * SECOND)).astype(np.float32)
    for pause in pauses:
        samples[int((pause - 0.15) * SECOND) : int((pause + 0.15) * SECOND)] *= 0.01
    return samples


def plan(samples: np.ndarray, spans: list[SpeechSpan], *, final: bool) -> BlockPlan:
    return plan_block(samples, spans, max_chunk=MAX, settled_after=SECOND, final=final)


def test_packing_fills_windows_in_order():
    """Spans go into as few windows as fill one after the other, and none is over 30 s."""
    groups = list(pack([span(0, 12), span(20, 30), span(40, 49), span(60, 89)], MAX))
    assert groups == [(span(0, 12), span(20, 30)), (span(40, 49),), (span(60, 89),)]


def test_speech_without_a_silence_is_cut_at_its_quietest():
    """No word is cut in two where there is any pause: 70 s are cut in short pauses, late in each window."""
    samples = noise(70, pauses=(10, 27, 51))
    cuts = [piece.end / SECOND for piece in split_at_pauses(samples, span(0, 70), MAX)]
    assert cuts == pytest.approx([27, 51, 70], abs=0.15)


def test_every_second_of_speech_is_in_one_chunk_of_one_block():
    """However spans lie to the blocks' edges, each is transcribed once, whole, in order."""
    spans = [span(1, 9), span(11, 58), span(59.2, 60.4), span(61, 100), span(130, 131), span(150, 179)]
    samples = noise(180)
    found: list[SpeechSpan] = []
    start = 0
    while start < len(samples):
        block = samples[start : start + 60 * SECOND]
        final = start + len(block) == len(samples)
        here = [SpeechSpan(max(each.start - start, 0), min(each.end - start, len(block))) for each in spans]
        planned = plan(block, [each for each in here if each.start < each.end], final=final)
        assert planned.cut > 0
        found += [each.shifted(start) for chunk in planned.chunks for each in chunk]
        start += planned.cut
    assert sum(map(len, found)) == sum(map(len, spans))
    assert all(before.end <= after.start for before, after in pairwise(found))


def test_a_span_at_the_edge_waits_for_the_next_block():
    """Speech that may go on is not cut off at a block's edge."""
    planned = plan(noise(60), [span(2, 31), span(50, 60)], final=False)
    assert planned.chunks == ((span(2, 31),),)
    assert planned.cut == 50 * SECOND


def test_a_span_that_ends_with_the_block_waits_however_soon_others_are_settled():
    """Where silence of no length ends a span, the block's end is none: the word may go on."""
    spans = [span(5, 20), span(58, 60)]
    block = plan_block(noise(60), spans, max_chunk=MAX, settled_after=0, final=False)
    assert [chunk[-1] for chunk in block.chunks] == [span(5, 20)]
    assert block.cut == 58 * SECOND


def test_the_last_block_keeps_nothing_back():
    """At the recording's end everything is transcribed."""
    planned = plan(noise(60), [span(2, 31), span(50, 60)], final=True)
    assert planned.chunks == ((span(2, 31),), (span(50, 60),))


def test_a_block_full_of_speech_still_moves_on():
    """Speech without end gives chunks, and the next block begins later."""
    planned = plan(noise(60, pauses=(28, 55)), [span(0, 60)], final=False)
    assert len(planned.chunks) == 2
    assert planned.cut / SECOND == pytest.approx(55, abs=0.2)


def test_silence_moves_on_to_the_edge():
    """Nothing is transcribed, and what might begin at the edge is looked at again."""
    planned = plan(noise(60), [], final=False)
    assert planned == BlockPlan((), 59 * SECOND)


def test_times_in_a_chunk_lead_back_to_the_recording():
    """Pauses left out are put back; where spans meet, an end is the earlier's and a start the later's."""
    chunk = cut_chunk(noise(20), (span(2, 5), span(10, 14)), block_start=100 * SECOND)
    assert chunk.duration_s == 7
    assert chunk.to_source_time(0) == 102
    assert chunk.to_source_time(3, is_end=True) == 105
    assert chunk.to_source_time(3) == 110
    assert chunk.to_source_time(7, is_end=True) == 114
    assert chunk.to_source_time(99, is_end=True) == 114


@pytest.mark.parametrize("from_s", [0.0, 1.5, 3.0, 4.25])
def test_the_rest_of_a_chunk_keeps_its_times(from_s: float):
    """What lies after a place in a chunk leads back to the same moments."""
    chunk = cut_chunk(noise(20), (span(2, 5), span(10, 14)), block_start=0)
    rest = rest_of(chunk, from_s)
    assert isinstance(rest, Chunk)
    assert np.array_equal(rest.samples, chunk.samples[int(from_s * SECOND) :])
    assert rest.to_source_time(1.0) == chunk.to_source_time(from_s + 1.0)


def test_stretches_together_are_the_chunk():
    """Cut at pauses, and where it is quietest where a span is long; joined again, no sample or time is another."""
    samples = noise(28, pauses=(4, 9))
    chunk = Chunk(samples, (span(10, 24), span(60, 70), span(71, 75)))
    stretches = stretches_of(chunk, 6 * SAMPLE_RATE)
    assert all(len(stretch.spans) >= 1 and stretch.duration_s <= 6 for stretch in stretches)
    assert {60 * SAMPLE_RATE, 71 * SAMPLE_RATE} <= {stretch.spans[0].start for stretch in stretches}
    whole = joined(stretches)
    assert whole.spans == chunk.spans
    assert np.array_equal(whole.samples, chunk.samples)
    assert joined(stretches[-2:]).to_source_time(0) == stretches[-2].to_source_time(0)
