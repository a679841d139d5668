"""Texts that stand twice in a row."""

import pytest

from asr_service.engine.decode.doubled_text import doubled_letters

SENTENCE = "Die Unterseite ist hellgrau mit einem hellen Anflug."


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("Seven of clubs. Seven of clubs", 12),
        ("Skip on TV, skip on TV,", 8),
        (f"{SENTENCE} {SENTENCE}", 43),
        (f"First there was something else to say. {SENTENCE} {SENTENCE.upper()}", 43),
        ("今天天气很好。今天天气很好。", 6),
        ("मौसम अच्छा है आज, मौसम अच्छा है आज", 14),
        (
            "Unterseite ist Hellgrau mit helllofarbenen Anschlug. Unterseite ist Hellgrau mit hellofarbenem Anflug.",
            44,
        ),
    ],
    ids=["short", "all", "sentence", "after another", "Chinese", "Hindi", "changed"],
)
def test_a_text_that_stands_twice_is_found(text: str, length: int):
    """In any alphabet, after another text, and with small changes. Case and punctuation do not count."""
    assert doubled_letters(text) == pytest.approx(length, abs=3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no no no",
        "Yes. Yes.",
        "I asked him to wait and he said thank you, thank you",
        SENTENCE,
        "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country.",
        "Press 1 to list the users of this room, press 2 to remove the users of this room. Then wait for the tone.",
    ],
)
def test_ordinary_text_has_nothing_twice(text: str):
    """A few words may be said twice, and clauses before the end may be alike."""
    assert doubled_letters(text) == 0


def test_a_text_of_any_length_is_compared():
    """Only its last letters are compared, so that a long text does not block other requests."""
    different = "".join(chr(0x4E00 + number) for number in range(5000))
    assert doubled_letters(different) == 0
    assert doubled_letters(f"{different} {SENTENCE} {SENTENCE}") > 40


def test_a_few_words_that_two_windows_have_may_be_spoken():
    """Within one window, as its whole text, the model may have doubled them."""
    assert doubled_letters("Thank you. Thank you.") == 8
    assert doubled_letters("Thank you. Thank you.", spans_windows=True) == 0
