"""The words of a segment: their times, and the marks and spaces that are joined to them."""

from asr_service.engine.decode.timing.words import TimedWord, fit_to_segment, merge_punctuation
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
