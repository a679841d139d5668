"""Times of segments and words in the recording."""

import numpy as np
import pytest

from asr_service.audio.chunking import Chunk
from asr_service.audio.vad import SpeechSpan
from asr_service.engine.decode.timing.times import place_words
from asr_service.engine.options import DecodingOptions
from asr_service.transcript import Word
from engines import RATE, engine_around, loud
from fakes import FakeModel, writing

ENGLISH = DecodingOptions(vad_filter=False, language="en")


@pytest.mark.parametrize(
    "text", [" one two, three", "one two, three"], ids=["with its first space", "without its first space"]
)
async def test_words_have_times_within_their_recording(text: str):
    """Words are ordered, lie within their segment, and together are its text."""
    async with engine_around(FakeModel(writing(text, until_s=9.0))) as engine:
        options = DecodingOptions(vad_filter=False, language="en", word_timestamps=True)
        transcript = await engine.transcript(engine.recording(loud(10)), options)
    (segment,) = transcript.segments
    assert segment.words is not None
    assert [word.word for word in segment.words] == [" one", " two,", " three"]
    assert segment.text == " one two, three"
    times = [time for word in segment.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert (segment.start, segment.end) == (times[0], times[-1])


def test_a_word_without_length_at_a_seam_keeps_its_order():
    """At a pause that was left out, an end belongs before the pause and a start after it."""
    chunk = Chunk(np.ones(4 * RATE, np.float32), (SpeechSpan(0, 2 * RATE), SpeechSpan(10 * RATE, 12 * RATE)))
    before, between = place_words((Word(" a", 1.0, 2.0, 0.9), Word(" b", 2.0, 2.0, 0.9)), chunk)
    assert (before.start, before.end) == (1.0, 2.0)
    assert between.start == between.end == 10.0


def test_a_word_across_a_seam_does_not_last_through_the_pause():
    """Alignment is wrong by some frames. The word lies on one side of the pause."""
    chunk = Chunk(np.ones(4 * RATE, np.float32), (SpeechSpan(0, 2 * RATE), SpeechSpan(62 * RATE, 64 * RATE)))
    late = place_words((Word(" a", 1.5, 2.02, 0.9), Word(" b", 2.02, 2.5, 0.9)), chunk)
    assert [(word.start, word.end) for word in late] == [(1.5, 2.0), (pytest.approx(62.02), 62.5)]
    early = place_words((Word(" a", 1.5, 1.98, 0.9), Word(" b", 1.98, 2.5, 0.9)), chunk)
    assert [(word.start, word.end) for word in early] == [(1.5, 1.98), (62.0, 62.5)]


@pytest.mark.parametrize(
    ("segment", "placed"),
    [
        ((0.0, 1.9), (0.0, 1.9)),
        ((1.9, 3.8), (62.0, 63.8)),
        ((0.5, 2.3), (0.5, 2.0)),
        ((2.1, 3.0), (62.1, 63.0)),
        ((1.0, 3.0), (1.0, 63.0)),
        ((1.9, 2.05), (1.9, 2.0)),
        ((1.95, 2.3), (62.0, 62.3)),
    ],
)
def test_a_segment_starts_and_ends_within_speech(segment, placed):
    """Its times do not lie in the quiet that is kept next to a pause."""
    chunk = Chunk(np.ones(4 * RATE, np.float32), (SpeechSpan(0, 2 * RATE), SpeechSpan(62 * RATE, 64 * RATE)))
    assert chunk.to_source_span(segment[0], segment[1], 0.4) == pytest.approx(placed)


def test_times_are_not_moved_between_spans_that_touch():
    """Nothing was left out between them, so speech may continue there."""
    chunk = Chunk(np.ones(4 * RATE, np.float32), (SpeechSpan(RATE, 3 * RATE), SpeechSpan(3 * RATE, 5 * RATE)))
    (word,) = place_words((Word(" a", 1.9, 2.3, 0.9),), chunk)
    assert (word.start, word.end) == pytest.approx((2.9, 3.3))
    for segment in ((1.7, 3.0), (0.5, 2.3), (1.9, 2.1)):
        assert chunk.to_source_span(*segment, 0.4) == pytest.approx((segment[0] + 1, segment[1] + 1))
