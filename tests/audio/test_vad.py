"""Voice activity detection."""

import os
import subprocess
import sys
from dataclasses import dataclass

import faster_whisper.vad
import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from faster_whisper.vad import VadOptions as TheirOptions
from faster_whisper.vad import get_speech_timestamps, get_vad_model

from asr_service.audio import SAMPLE_RATE, vad
from asr_service.audio.silero import SpeechStream, speech_probabilities
from asr_service.audio.vad import SpeechSpan, VadOptions, detect_speech, pad, speech_frames
from speech import RECORDINGS, SPEECH, WORDLESS


@dataclass(frozen=True)
class Recording:
    """Every recording of speech, each followed by 2 s of silence: four minutes."""

    samples: np.ndarray
    theirs: np.ndarray
    """The probabilities of faster-whisper, which runs the model over the whole recording: [frames]."""
    ours: np.ndarray


@pytest.fixture(scope="module")
def recording() -> Recording:
    silence = np.zeros(2 * SAMPLE_RATE, np.float32)
    samples = np.concatenate([part for each in SPEECH.values() for part in (decode_audio(str(each.path)), silence)])
    whole = np.pad(samples, (0, 512 - len(samples) % 512))
    return Recording(samples, get_vad_model()(whole).reshape(-1), speech_probabilities(samples))


def test_probabilities_equal_those_of_faster_whisper(recording: Recording):
    """Running the model in pieces gives the probabilities of a run over the whole recording."""
    assert np.allclose(recording.ours, recording.theirs[: len(recording.ours)], atol=1e-3)


def test_probabilities_of_a_stream_equal_those_of_the_recording(recording: Recording):
    """The state and the incomplete frame are kept between pieces of any size."""
    samples = recording.samples[: 20 * SAMPLE_RATE]
    stream = SpeechStream()
    pieces = np.concatenate([stream(samples[at : at + 777]) for at in range(0, len(samples), 777)])
    assert len(pieces) == len(samples) // 512
    assert np.allclose(pieces, recording.ours[: len(pieces)], atol=1e-4)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("min_silence_duration_ms", [0, 100, 500, 2000])
def test_spans_equal_those_of_faster_whisper(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, threshold: float, min_silence_duration_ms: int
):
    """They differ by at most one frame, for any options."""
    # The model runs once for all options: it takes 2 s for each of the two.
    monkeypatch.setattr(faster_whisper.vad, "get_vad_model", lambda: lambda _: recording.theirs)
    monkeypatch.setattr(vad, "speech_probabilities", lambda _: recording.ours)
    theirs = get_speech_timestamps(
        recording.samples, TheirOptions(threshold=threshold, min_silence_duration_ms=min_silence_duration_ms)
    )
    ours = detect_speech(recording.samples, VadOptions(threshold, min_silence_duration_ms))
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
    """A short or shallow dip does not end speech; the minimum silence below the lower threshold does."""
    probabilities = np.full(100, 0.9, np.float32)
    probabilities[20:30] = 0.1  # too short
    probabilities[40:60] = 0.4  # not low enough
    probabilities[70:90] = 0.1
    options = VadOptions(min_silence_duration_ms=500)  # 16 frames
    assert list(speech_frames(probabilities, options)) == [(0, 70), (90, 100)]


def test_the_pauses_of_speech_are_speech():
    """By default, a pause between sentences stays in the window, because the model needs it. A longer one ends speech.

    The frames have 32 ms.
    """
    probabilities = np.full(300, 0.9, np.float32)
    probabilities[50:105] = 0.0  # 1.8 s
    probabilities[150:220] = 0.0  # 2.2 s
    assert list(speech_frames(probabilities, VadOptions())) == [(0, 150), (220, 300)]


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
from asr_service.audio.silero import SpeechStream, speech_probabilities
speech_probabilities(numpy.zeros(16_000, numpy.float32))
"""


def test_onnxruntime_does_not_report_its_usage(tmp_path):
    """onnxruntime stores usage data under $HOME before it sends them. It must store nothing here."""
    environ = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", REPORTING]
    subprocess.run(command, env=environ | {"HOME": str(tmp_path)}, check=True, timeout=60)
    assert not list(tmp_path.iterdir())
