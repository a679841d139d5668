"""Sound of live clients: any rate, linear or G.711, in pieces of any size."""

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame

from asr_service.audio.telephony import LiveAudioDecoder

SECONDS = 1.0
RATES = (8000, 16_000, 24_000, 44_100, 48_000)


def tone(rate: int, hertz: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * SECONDS)) / rate).astype(np.float32)


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def in_pieces(decoder: LiveAudioDecoder, data: bytes, size: int) -> np.ndarray:
    return np.concatenate([decoder(data[at : at + size]) for at in range(0, len(data), size)])


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_frequency_and_its_level(rate: int):
    """The result is the tone at 16 kHz, delayed by less than 3 ms, and as long as the input."""
    heard = in_pieces(LiveAudioDecoder("pcm16", rate), pcm(tone(rate, 440)), 2 * rate // 20)
    assert abs(len(heard) - 16_000 * SECONDS) <= 48
    expected = tone(16_000, 440)
    best = min(float(np.abs(heard[delay : delay + 15_000] - expected[:15_000])[200:].max()) for delay in range(48))
    assert best < 0.05


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
def test_sound_above_8_khz_does_not_appear_below_it(rate: int):
    """Otherwise hiss would become speech-like noise."""
    heard = LiveAudioDecoder("pcm16", rate)(pcm(tone(rate, 10_000)))
    assert np.abs(heard[500:]).max() < 0.001


@pytest.mark.parametrize("rate", RATES)
def test_the_pieces_make_no_difference(rate: int):
    """Pieces of an odd number of bytes give the same samples as the whole."""
    noise = np.random.default_rng(0).uniform(-1, 1, rate // 4).astype(np.float32)
    whole = LiveAudioDecoder("pcm16", rate)(pcm(noise))
    pieces = in_pieces(LiveAudioDecoder("pcm16", rate), pcm(noise), 333)
    assert np.allclose(whole, pieces, atol=1e-6)


@pytest.mark.parametrize(("encoding", "codec"), [("ulaw", "pcm_mulaw"), ("alaw", "pcm_alaw")])
def test_g711_is_decoded_as_ffmpeg_decodes_it(encoding, codec):
    """All 256 bytes have the samples that FFmpeg gives them."""
    data = bytes(range(256))
    context = av.CodecContext.create(codec, "r")
    context.sample_rate, context.layout = 8000, "mono"
    (frame,) = context.decode(av.Packet(data))
    assert isinstance(frame, AudioFrame)
    expected = frame.to_ndarray().reshape(-1) / 32768
    assert np.array_equal(LiveAudioDecoder(encoding, 16_000)(data), expected.astype(np.float32))
