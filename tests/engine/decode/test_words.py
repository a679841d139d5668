"""How marks and spaces are joined to words."""

from asr_service.engine.decode.words import TimedWord, merge_punctuation
from asr_service.transcript import Word


def merged(*texts: str) -> list[str]:
    words = [TimedWord(Word(text, at, at + 1, 0.9), 1) for at, text in enumerate(texts)]
    return [timed.word.word for timed in merge_punctuation(words)]


def test_marks_are_joined_to_words():
    """Opening marks are joined to the word after them, closing marks to the word before them."""
    assert merged(" (", "yes", ")", " no", ".") == [" (yes)", " no."]


def test_a_space_that_is_a_token_of_its_own_is_not_a_word():
    """Such tokens occur between sentences of languages without spaces."""
    assert merged("今日", " ", "は", " ") == ["今日", " は "]
