"""The figures of the benchmark of live sessions."""

from pathlib import Path

import numpy as np
import pytest

from asr_service.engine.pipeline.live.events import TextDelta, TurnCommitted, TurnCompleted, TurnStarted, TurnStopped
from asr_service.transcript import Timing, Transcript, Word
from benchmarks.common.corpus import Clip
from benchmarks.live.material import Placed, Playlist
from benchmarks.live.measure import Measured, add_session
from benchmarks.live.player import Heard

CLIP = Clip(Path("a.wav"), 2.0, "en", "red green blue white", "speech")
WORDS = [
    Word(" red", 0.1, 0.5, 1),
    Word(" green", 0.5, 0.9, 1),
    Word(" blue", 0.9, 1.3, 1),
    Word(" white", 1.3, 1.8, 1),
]


def transcript(text: str) -> Transcript:
    return Transcript(text, "transcribe", "en", 1.0, 2.0, 2.0, "base", (), (), Timing(0, 0, 0, 0, 0, 0))


def test_delays_errors_and_words_that_were_taken_back():
    """Speech ends at 2.988 s, and the text comes at 4.0 s. One of three sent words is not in the final text."""
    heard = [
        Heard(TurnStarted("t", 700), 1.3),
        Heard(TextDelta("t", "red green"), 2.0),
        Heard(TextDelta("t", " blew"), 2.9),
        Heard(TurnStopped("t", 3500), 3.52),
        Heard(TurnCommitted("t", None), 3.52),
        Heard(TextDelta("t", " wide"), 4.0),
        Heard(TurnCompleted("t", transcript("red green blue wide"), 2.8), 4.0),
    ]
    played = Playlist(np.zeros(0, np.float32), (Placed(CLIP, 1.0, 3.0),))
    measured = Measured()
    add_session(measured, played, heard, "red green blue white", {CLIP.path: WORDS}, 500, "en")
    assert measured.final_delays_s == [pytest.approx(1.0, abs=0.06)]
    assert measured.word_delays_s == [pytest.approx(0.5, abs=0.06), pytest.approx(0.1, abs=0.06)]
    assert (measured.n_sent, measured.n_taken_back) == (3, 1)
    assert (measured.errors.n_errors, measured.file_errors.n_errors) == (1, 0)
