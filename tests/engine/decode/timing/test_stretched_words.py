"""Words that alignment stretched over silence or faint sound."""

import numpy as np
import pytest

from asr_service.engine.decode.timing.stretched_words import shrink_stretched, skip_silent_starts
from asr_service.transcript import Word

RATE = 16_000


def sound(*parts: tuple[float, float]) -> np.ndarray:
    """Return noise of the given seconds and loudness in dB, one part after the other."""
    noise = np.random.default_rng(1)
    return np.concatenate(
        [10 ** (level / 20) * noise.standard_normal(int(seconds * RATE)) for seconds, level in parts]
    ).astype(np.float32)


def shrunk(samples: np.ndarray, *spans: tuple[float, float]) -> list[tuple[float, float]]:
    words = [Word(f" w{number}", start, end, 0.9) for number, (start, end) in enumerate(spans)]
    return [(round(word.start, 2), round(word.end, 2)) for word in shrink_stretched(words, samples)]


USUAL = ((10.0, 10.4), (10.4, 10.8), (10.8, 11.2))


@pytest.mark.parametrize("faint", [-45, -60, -100])
def test_the_first_word_begins_where_the_loud_sound_begins(faint: float):
    """The word got all the faint sound before it."""
    samples = sound((9.5, faint), (1.7, -20))
    assert shrunk(samples, (0.0, 10.0), *USUAL) == [(9.5, 10.0), *USUAL]


def test_a_word_ends_where_the_pause_after_it_begins():
    """The word got the pause after it."""
    samples = sound((9.4, -60), (0.4, -20), (3.2, -60), (1.2, -20))
    after = tuple((start + 3, end + 3) for start, end in USUAL)
    assert shrunk(samples, (9.4, 13.0), *after) == [(9.4, 9.8), *after]


def test_a_word_without_sound_shares_the_sound_of_the_next_word():
    """Alignment gave both words' sound to the second one."""
    samples = sound((9.5, -45), (2.5, -20))
    assert shrunk(samples, (0.0, 5.0), (5.0, 10.3), (10.3, 10.7), (10.7, 11.1), (11.1, 11.5)) == [
        (9.5, 9.9),
        (9.9, 10.3),
        (10.3, 10.7),
        (10.7, 11.1),
        (11.1, 11.5),
    ]


def test_a_word_is_cut_if_all_is_loud():
    """Music is as loud as the speech, so the sound cannot show where the word begins."""
    assert shrunk(sound((12, -20)), (0.0, 10.0), *USUAL) == [(9.2, 10.0), *USUAL]


def test_usual_words_stay_as_they_are():
    """Also if a part of them is quiet."""
    spans = ((0.0, 0.9), (0.9, 1.9), *USUAL)
    assert shrunk(sound((9.5, -60), (2, -20)), *spans) == list(spans)


def test_a_window_of_stretched_words_only():
    """Without usual words there is no loudness to compare with, so the words are cut."""
    assert shrunk(sound((8, -20)), (0.0, 4.0), (4.0, 8.0)) == [(3.2, 4.0), (7.2, 8.0)]
    assert shrunk(sound((1, -20))) == []


@pytest.mark.parametrize(("silent_s", "start"), [(0.3, 10.28), (0.16, 10.14), (0.06, 10.0)])
def test_a_word_does_not_begin_with_silence(silent_s: float, start: float):
    """A silence as short as that before a plosive is part of the word."""
    samples = sound((10.0, -20), (silent_s, -60), (1.5, -20))
    words = [Word(" a", 9.5, 10.0, 0.9), Word(" b", 10.0, 10.8, 0.9)]
    assert [word.start for word in skip_silent_starts(words, samples)] == [9.5, pytest.approx(start)]


def test_words_in_noise_and_words_without_sound_keep_their_starts():
    """In noise it cannot be known where a word begins."""
    words = [Word(" a", 0.0, 0.5, 0.9), Word(" b", 0.5, 1.0, 0.9), Word(" c", 2.0, 2.4, 0.9)]
    assert skip_silent_starts(words, sound((0.3, -40), (0.7, -20), (2, -40))) == words
    assert skip_silent_starts(words, sound((0.1, -20))) == words
    assert skip_silent_starts([], sound((1, -20))) == []
