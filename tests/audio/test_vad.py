"""Voice activity detection."""

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


def recordings_with_pauses() -> np.ndarray:
    """Return every recording of speech, each followed by 2 s of silence: four minutes."""
    silence = np.zeros(2 * SAMPLE_RATE, np.float32)
    return np.concatenate([part for each in SPEECH.values() for part in (decode_audio(str(each.path)), silence)])


def test_probabilities_equal_those_of_faster_whisper():
    """Running the model in pieces gives the probabilities of a run over the whole recording."""
    samples = recordings_with_pauses()
    whole = np.pad(samples, (0, 512 - len(samples) % 512))
    theirs = get_vad_model()(whole).reshape(-1)
    ours = speech_probabilities(samples)
    assert np.allclose(ours, theirs[: len(ours)], atol=1e-3)


@pytest.mark.parametrize(
    ("threshold", "min_silence_duration_ms"), [(0.2, 0), (0.2, 2000), (0.5, 100), (0.5, 500), (0.8, 0), (0.8, 2000)]
)
def test_spans_equal_those_of_faster_whisper(threshold: float, min_silence_duration_ms: int):
    """They differ by at most one frame, for any options."""
    samples = recordings_with_pauses()
    theirs = get_speech_timestamps(
        samples, TheirOptions(threshold=threshold, min_silence_duration_ms=min_silence_duration_ms)
    )
    ours = detect_speech(samples, VadOptions(threshold, min_silence_duration_ms))
    assert len(ours) == len(theirs)
    for span, other in zip(ours, theirs, strict=True):
        assert abs(span.start - other["start"]) <= 512
        assert abs(span.end - other["end"]) <= 512


@pytest.mark.parametrize("name", WORDLESS)
def test_music_and_noise_are_mostly_no_speech(name: str):
    """Less than half of a recording without speech is detected as speech."""
    samples = decode_audio(str(RECORDINGS[name].path))
    assert sum(map(len, detect_speech(samples, VadOptions()))) < len(samples) / 2


@pytest.mark.parametrize("n_samples", [0, 1, 511, 512, 513, 800])
def test_the_shortest_recordings_have_no_speech(n_samples: int):
    """Recordings around one frame long are handled."""
    assert detect_speech(np.zeros(n_samples, np.float32), VadOptions()) == []


def test_speech_ends_only_after_enough_silence():
    """A short or shallow dip does not end speech; 500 ms (16 frames) below the lower threshold do."""
    probabilities = np.full(100, 0.9, np.float32)
    probabilities[20:30] = 0.1  # too short
    probabilities[40:60] = 0.4  # not low enough
    probabilities[70:90] = 0.1
    assert list(speech_frames(probabilities, VadOptions())) == [(0, 70), (90, 100)]


def test_spans_are_padded_without_overlap():
    """The padding is 400 ms on each side, at most half of the pause, and stays inside the recording."""
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


def test_onnxruntime_does_not_report_its_usage(tmp_path):
    """onnxruntime stores usage data under $HOME before it sends them. It must store nothing here."""
    environ = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", REPORTING]
    subprocess.run(command, env=environ | {"HOME": str(tmp_path)}, check=True, timeout=60)
    assert not list(tmp_path.iterdir())
