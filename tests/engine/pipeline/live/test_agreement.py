"""Which words are sent while a turn is still spoken."""

import pytest

from asr_service.engine.pipeline.live.agreement import (
    CAUTION,
    Caution,
    SentText,
    n_taken_back,
    rest_after,
    split_words,
)
from asr_service.engine.pipeline.live.options import Delay

CAREFUL = Caution(n_agreeing=2, n_held_back=1, interval_s=0.4)


def tell(*hypotheses: str, caution: Caution = CAREFUL) -> list[str]:
    """Return the deltas of successive hypotheses of a whole utterance. As a model, each continues what was sent."""
    sent = SentText()
    return [sent.add(split_words(each, "en")[len(sent.words) :], caution) for each in hypotheses]


def test_a_word_is_sent_when_two_hypotheses_agree_and_another_word_follows():
    """The newest word is held back; case and punctuation at the edges make no difference."""
    assert tell(" As you", " as you, know", " As you know and", " As you know and I have") == [
        "", " as you,", " know", " and",
    ]  # fmt: skip


def test_words_after_a_disagreement_are_not_told():
    """Two hypotheses that differ in a word tell nothing from there on."""
    assert tell(" I have seen a", " I had seen a dog", " I had seen a dog run") == ["", " I", " had seen a dog"]


def test_deltas_are_only_appended():
    """Whatever the hypotheses are, the deltas joined are what was sent, and grow."""
    hypotheses = [" a b c", " a b c d", " x y", " a b c d e f", " a b c d e f g"]
    sent, shown = SentText(), ""
    for each in hypotheses:
        shown += sent.add(split_words(each, "en")[len(sent.words) :], CAREFUL)
        assert sent.text == shown


def test_greater_caution_sends_later():
    """With three agreeing hypotheses and two words held back, the same words come later."""
    hypotheses = [" one two three four five"] * 3
    assert tell(*hypotheses, caution=Caution(3, 2, 0.8)) == ["", "", " one two three"]


def test_delays_are_ordered():
    """Each longer delay holds at least as much back as the shorter ones; the longest tells nothing early."""
    cautions = [CAUTION[delay] for delay in Delay]
    assert cautions[-1] is None
    held = [(each.n_agreeing, each.n_held_back, each.interval_s) for each in cautions if each is not None]
    assert held == sorted(held)


def test_languages_without_spaces_are_sent_by_character():
    """A character of which bytes are missing is not sent."""
    assert split_words("今日は�", "ja") == ["今", "日", "は"]


def test_words_have_one_space_before_them():
    """Models write two now and then. The rest of a word that was sent in part has none."""
    assert split_words("s one  two", "en") == ["s", " one", " two"]


@pytest.mark.parametrize(
    ("sent", "final", "rest"),
    [
        (" As you", " As you know.", " know."),
        ("", " All", " All"),
        (" as you,", " As you know.", " know."),
        (" has", " As you", None),
        (" a b c", " a b", None),
    ],
)
def test_the_rest_of_a_final_text_follows_what_was_sent(sent: str, final: str, rest: str | None):
    """If the final text has other words than those that were sent, there is no rest: only `completed` has the text."""
    assert rest_after(split_words(sent, "en"), final, "en") == rest


def test_words_that_the_final_text_took_back_are_counted():
    """Case and punctuation do not count; a word that moved does."""
    assert n_taken_back((" red", " green"), " Red, green blue.", "en") == 0
    assert n_taken_back((" red", " blew", " wide"), " red blue white", "en") == 2
    assert n_taken_back((), " red", "en") == 0
