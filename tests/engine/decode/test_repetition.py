"""How much a text repeats itself."""

from collections.abc import Callable

import pytest

from asr_service.engine.decode.repetition import compression_ratio, repetition


@pytest.mark.parametrize("measure", [compression_ratio, repetition])
def test_a_loop_has_a_high_ratio(measure: Callable[[str], float]):
    """A loop is above Whisper's limit of 2.4, ordinary text is far below it, and no text has a ratio of 0."""
    assert measure("so it goes " * 40) > 2.4
    assert measure("The quick brown fox jumps over the lazy dog.") < 1.5
    assert measure(" ") == 0.0


def test_the_same_menu_has_the_same_ratio_in_russian_and_in_english():
    """Russian letters take two bytes, which does not count as repetition. A loop is a loop in any alphabet."""
    english = (
        "To listen to the next message, press 6. To listen to this message again, press 5. To listen to the previous "
        "message, press 4. To delete or restore the message, press 0. To leave the voice mail, press pound."
    )
    russian = (
        "Для прослушивания следующего сообщения нажмите 6. Для повторного прослушивания сообщения нажмите 5. Для "
        "прослушивания предыдущего сообщения нажмите 4. Для удаления или восстановления сообщения нажмите 0."
    )
    assert compression_ratio(russian) > 2.4 > repetition(russian)
    assert repetition(russian) == pytest.approx(repetition(english), abs=0.2)
    assert repetition(english) == compression_ratio(english)
    for sentence in ("спасибо за внимание, ", "धन्यवाद ", "謝謝觀看", "ご視聴ありがとうございました", "شكرا لكم "):
        assert repetition(sentence * 12) > 2.4, sentence
