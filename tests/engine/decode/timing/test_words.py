"""The words of a segment: their times, and the marks and spaces that are joined to them."""

import pytest

from asr_service.engine.decode.timing.words import TimedWord, fit_to_segment, merge_punctuation, word_edges
from asr_service.engine.options import DecodingOptions
from asr_service.transcript import Word
from engines import engine_around, loud
from fakes import FakeModel, writing


def merged(*texts: str) -> list[str]:
    words = [TimedWord(Word(text, at, at + 1, 0.9), 1) for at, text in enumerate(texts)]
    return [timed.word.word for timed in merge_punctuation(words)]


def test_marks_are_joined_to_words():
    """Opening marks are joined to the word after them, closing marks to the word before them."""
    assert merged(" (", "yes", ")", " no", ".") == [" (yes)", " no."]


def test_a_space_that_is_a_token_of_its_own_is_not_a_word():
    """Such tokens occur between sentences of languages without spaces."""
    assert merged("今日", " ", "は", " ") == ["今日", " は "]


async def test_no_word_lasts_several_seconds():
    """The alignment spreads two words over ten seconds."""
    options = DecodingOptions(vad_filter=False, language="en", word_timestamps=True)
    async with engine_around(FakeModel(writing(" one two", until_s=10.0))) as engine:
        transcript = await engine.transcript(engine.recording(loud(10)), options)
    words = [word for segment in transcript.segments for word in segment.words or ()]
    assert [word.word for word in words] == [" one", " two"]
    assert all(0 < word.end - word.start < 1 for word in words)


def test_the_times_of_a_segment_make_no_word_longer():
    """The usual duration of a word is longer than these two, so they keep their outer times."""
    slow = tuple(Word(f" {at}", at, at + 0.7, 0.9) for at in range(4, 8))
    words = (Word(" one", 2.0, 2.6, 0.9), *slow, Word(" last", 9.0, 9.65, 0.9))
    fitted = fit_to_segment(words, 2.55, 9.05)
    assert (fitted[0].start, fitted[-1].end) == (2.0, 9.65)


def test_a_word_ends_later_the_more_letters_its_last_token_has():
    """The alignment goes on to the next word before a long token has ended. The first word's start stays."""
    assert word_edges([1.0, 2.0, 3.0, 4.0], [2, 8, 30], 9.0) == pytest.approx([1.0, 2.03, 3.12, 4.15])


def test_a_word_takes_at_most_half_of_the_next_one():
    """A mark has no sound, so a word may take all of it, and the word after the mark begins where it did."""
    assert word_edges([1.0, 2.0, 2.1, 3.0], [10, 1, 1], 9.0) == pytest.approx([1.0, 2.0575, 2.115, 3.015])
    assert word_edges([1.0, 2.0, 2.1, 3.0], [10, 0, 1], 9.0) == pytest.approx([1.0, 2.1, 2.1, 3.015])


def test_no_word_ends_after_the_sound():
    """Where the alignment itself does, the word keeps its end."""
    assert word_edges([1.0, 2.0], [10], 2.1) == pytest.approx([1.0, 2.1])
    assert word_edges([1.0, 2.0], [10], 1.9) == pytest.approx([1.0, 2.0])
