"""Quiet recordings and recordings with an offset, with real speech."""

import tracemalloc

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.level import Leveller, LiveLeveller
from asr_service.audio.vad import VadOptions, detect_speech
from speech import RECORDINGS, SPEECH, WORDLESS

Samples = NDArray[np.float32]


def recording(name: str) -> Samples:
    return np.asarray(decode_audio(str(RECORDINGS[name].path)), np.float32)


def attenuated(samples: Samples, level_db: float, offset: float = 0.0) -> Samples:
    """Return the samples of a 16-bit file whose loudest parts have this level."""
    n_frames = len(samples) // 320
    loudest = np.sort(samples[: n_frames * 320].reshape(n_frames, 320).std(axis=1))[-15]
    quiet = samples * (10 ** (level_db / 20) / loudest) + offset
    return np.asarray(np.round(np.clip(quiet, -1, 1) * 32767) / 32768, np.float32)


def speech_s(samples: Samples) -> float:
    return sum(map(len, detect_speech(samples, VadOptions()))) / SAMPLE_RATE


@pytest.mark.parametrize(
    ("name", "level_db", "offset"),
    [
        ("en-wizard", -50, 0.0), ("en-wizard", -60, 0.0), ("en-wizard", -30, 0.7), ("en-wizard", -30, -0.3),
        ("en-wizard", -50, 0.01), ("en-sonnet", -60, 0.0), ("fr-operators", -30, 0.7), ("ja-campsite", -30, -0.3),
        ("ru-voicemail", -50, 0.01),
    ],
)  # fmt: skip
def test_quiet_speech_and_speech_on_an_offset_are_found(name: str, level_db: float, offset: float):
    """As many seconds as in the recording itself."""
    samples = recording(name)
    found_s = speech_s(Leveller()(attenuated(samples, level_db, offset)))
    assert found_s == pytest.approx(speech_s(samples), rel=0.1)


@pytest.mark.parametrize("name", SPEECH)
def test_ordinary_recordings_stay_as_they_are(name: str):
    """So what is detected in them does not change."""
    samples = recording(name)
    assert Leveller()(samples) is samples


def noises() -> dict[str, Samples]:
    t = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    hum = np.sum([np.sin(2 * np.pi * f * t) / f for f in (50, 150, 250)], axis=0)
    chord = np.sum([np.sin(2 * np.pi * f * t) * (1 + 0.5 * np.sin(4 * np.pi * t)) for f in (220, 277, 330)], axis=0)
    white = np.random.default_rng(1).standard_normal(len(t))
    return {"white noise": white.astype(np.float32), "hum": hum.astype(np.float32), "chord": chord.astype(np.float32)}


@pytest.mark.parametrize("level_db", [-50, -60, -80])
@pytest.mark.parametrize("name", noises())
def test_noise_does_not_become_speech(name: str, level_db: float):
    """Amplification finds no speech where there is none."""
    assert speech_s(Leveller()(attenuated(noises()[name], level_db))) == 0


@pytest.mark.parametrize("name", WORDLESS)
def test_quiet_music_and_animals_are_mostly_no_speech(name: str):
    samples = attenuated(recording(name), -50)
    assert speech_s(Leveller()(samples)) < len(samples) / SAMPLE_RATE / 8


def test_the_gain_is_limited():
    """Digital silence stays silent, and the noise of the last bit stays faint."""
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert not Leveller()(silence).any()
    rounding = np.random.default_rng(1).choice([0, 1 / 32768], SAMPLE_RATE).astype(np.float32)
    assert np.abs(Leveller()(rounding)).max() < 0.01


def test_faint_sound_after_loud_sound_is_not_amplified():
    """The level is that of the whole recording so far. A click does not count."""
    loud, quiet = recording("en-wizard"), attenuated(recording("en-wizard"), -50)
    leveller = Leveller()
    assert leveller(loud) is loud
    assert leveller(quiet) is quiet
    clicking = quiet.copy()
    clicking[::16_000] = 1.0
    assert speech_s(Leveller()(clicking)) == pytest.approx(speech_s(loud), rel=0.1)


def test_an_offset_may_change_within_a_recording():
    """An offset that begins in the middle, or drifts, is removed as well."""
    speech = np.asarray(recording("en-wizard") * 0.2, np.float32)
    step = np.where(np.arange(len(speech)) < len(speech) // 2, 0, 0.6).astype(np.float32)
    drift = np.linspace(-0.1, 0.7, len(speech), dtype=np.float32)
    for offset in (step, drift):
        assert speech_s(Leveller()(np.asarray(speech + offset, np.float32))) == pytest.approx(speech_s(speech), rel=0.1)


@pytest.mark.parametrize("n_samples", [0, 1, 319, 320, 511])
def test_the_shortest_blocks(n_samples: int):
    samples = np.full(n_samples, 0.5, np.float32)
    assert len(Leveller()(samples)) == n_samples


def test_a_quiet_live_session_is_amplified_and_a_loud_one_is_not():
    """As a recording is, from the first 0.3 s on, whatever the pieces are. A sudden loud sound is not clipped."""
    quiet = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.002
    pieces = [quiet[at : at + 800] for at in range(0, len(quiet), 800)]
    level = LiveLeveller()
    amplified = np.concatenate([level(piece) for piece in pieces])
    assert amplified[8000:].std() == pytest.approx(0.063, rel=0.2)
    assert np.abs(level(np.full(800, 0.9, np.float32))).max() <= 1.0
    loud = LiveLeveller()
    for piece in pieces:
        assert np.array_equal(loud(piece * 100), piece * 100)


def test_the_offset_of_a_long_block_takes_little_memory():
    """Blocks last up to ten minutes. The offset changes within this one, and is gone everywhere."""
    t = np.arange(120 * SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE
    samples = np.where(t < 55, np.float32(0.3), np.float32(-0.2)) + np.float32(0.01) * np.sin(2000 * t)
    tracemalloc.start()
    levelled = Leveller()(samples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * samples.nbytes
    seconds = levelled.reshape(120, SAMPLE_RATE).mean(axis=1)
    assert np.abs(np.delete(seconds, [54, 55])).max() < 1e-3
