"""Where a waveform holds speech."""

import os
import subprocess
import sys

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from faster_whisper.vad import VadOptions as TheirOptions
from faster_whisper.vad import get_speech_timestamps, get_vad_model

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.silero import speech_probabilities
from asr_service.audio.vad import SpeechSpan, VadOptions, detect_speech, pad, speech_frames
from speech import RECORDINGS, SPEECH, WORDLESS


def spaced_out() -> np.ndarray:
    """Every recording of speech, 2 s of quiet after each: four minutes."""
    quiet = np.zeros(2 * SAMPLE_RATE, np.float32)
    return np.concatenate([part for each in SPEECH.values() for part in (decode_audio(str(each.path)), quiet)])


def test_probabilities_are_faster_whispers():
    """Run in pieces, the model says what it says of the whole."""
    samples = spaced_out()
    whole = np.pad(samples, (0, 512 - len(samples) % 512))
    theirs = get_vad_model()(whole).reshape(-1)
    ours = speech_probabilities(samples)
    assert np.allclose(ours, theirs[: len(ours)], atol=1e-3)


@pytest.mark.parametrize("min_silence_duration_ms", [0, 100, 500, 2000])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_spans_are_faster_whispers(threshold: float, min_silence_duration_ms: int):
    """To within a frame of rounding, whatever the options."""
    samples = spaced_out()
    theirs = get_speech_timestamps(
        samples, TheirOptions(threshold=threshold, min_silence_duration_ms=min_silence_duration_ms)
    )
    ours = detect_speech(samples, VadOptions(threshold, min_silence_duration_ms))
    assert len(ours) == len(theirs)
    for span, other in zip(ours, theirs, strict=True):
        assert abs(span.start - other["start"]) <= 512
        assert abs(span.end - other["end"]) <= 512


@pytest.mark.parametrize("name", WORDLESS)
def test_music_and_noise_are_no_speech(name: str):
    """Most of it, at least: what slips through is Whisper's to leave out."""
    samples = decode_audio(str(RECORDINGS[name].path))
    assert sum(map(len, detect_speech(samples, VadOptions()))) < len(samples) / 2


@pytest.mark.parametrize("n_samples", [0, 1, 511, 512, 513, 800])
def test_the_shortest_recordings_have_no_speech(n_samples: int):
    """And do not fail."""
    assert detect_speech(np.zeros(n_samples, np.float32), VadOptions()) == []


def test_speech_ends_where_silence_has_lasted():
    """A dip under the threshold ends nothing; 500 ms (16 frames) under the lower one do."""
    probabilities = np.full(100, 0.9, np.float32)
    probabilities[20:30] = 0.1  # too short
    probabilities[40:60] = 0.4  # not low enough
    probabilities[70:90] = 0.1
    assert list(speech_frames(probabilities, VadOptions())) == [(0, 70), (90, 100)]


def test_spans_are_widened_and_never_overlap():
    """400 ms on each side, half of the pause at most, never past an end."""
    spans = [SpeechSpan(1000, 20_000), SpeechSpan(24_000, 40_000), SpeechSpan(80_000, 90_000)]
    assert pad(spans, 100_000, VadOptions()) == [
        SpeechSpan(0, 22_000),
        SpeechSpan(22_000, 46_400),
        SpeechSpan(73_600, 96_400),
    ]


REPORTING = """
import sys, numpy
from asr_service.audio.silero import speech_probabilities
speech_probabilities(numpy.zeros(16_000, numpy.float32))
"""


def test_the_library_does_not_report_home(tmp_path):
    """onnxruntime sends its maker what it is used for, from a store under $HOME: here it makes none."""
    environ = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", REPORTING]
    subprocess.run(command, env=environ | {"HOME": str(tmp_path)}, check=True, timeout=60)
    assert not list(tmp_path.iterdir())
