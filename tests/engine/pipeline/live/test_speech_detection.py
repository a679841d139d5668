"""Where speech begins, pauses and ends in a live session."""

import pytest

from asr_service.engine.pipeline.live.speech_detection import Began, Change, Ended, Paused, Resumed, SpeechDetector

FRAME = 512
SPEECH, UNSURE, SILENCE = 0.9, 0.4, 0.05


def changes(*frames: tuple[float, int], silence_ms: int = 500, pause_ms: int = 160) -> list[Change]:
    """Return what a detector says about so many frames of each probability."""
    detector = SpeechDetector(0.5, silence_ms, pause_ms)
    probabilities = [probability for probability, count in frames for _ in range(count)]
    return [change for probability in probabilities for change in detector.push(probability)]


def test_speech_begins_pauses_and_ends():
    """16 frames of silence are 512 ms. The ends are those of the speech, not of the silence."""
    assert changes((SILENCE, 10), (SPEECH, 20), (SILENCE, 30)) == [
        Began(10 * FRAME),
        Paused(30 * FRAME),
        Ended(30 * FRAME, 46 * FRAME),
    ]


def test_speech_goes_on_after_a_pause():
    """A pause shorter than the silence that ends a turn is reported, and its end too."""
    assert changes((SPEECH, 10), (SILENCE, 8), (SPEECH, 10)) == [Began(0), Paused(10 * FRAME), Resumed(18 * FRAME)]


@pytest.mark.parametrize("click", [1, 2])
def test_a_click_is_no_speech(click: int):
    """One or two frames, again and again with more than 96 ms between them, open nothing."""
    assert changes(*[(SPEECH, click), (SILENCE, 10)] * 20) == []


def test_a_short_word_with_an_unsure_middle_is_speech():
    """A `yes` of 160 ms, of which the detector hears three frames."""
    assert changes((SPEECH, 2), (UNSURE, 2), (SPEECH, 1), (SILENCE, 20))[0] == Began(0)


def test_a_probability_between_the_thresholds_extends_speech_but_not_silence():
    """Speech ends below the lower threshold; once it has, it begins only at the upper one."""
    fading = changes((SPEECH, 10), (UNSURE, 5), (SILENCE, 20))
    assert fading[-1] == Ended(15 * FRAME, 31 * FRAME)
    murmur = changes((SPEECH, 10), (SILENCE, 1), (UNSURE, 30))
    assert murmur[-1] == Ended(10 * FRAME, 26 * FRAME)
