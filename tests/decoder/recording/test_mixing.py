"""How the channels of a recording become one."""

import io
import struct

import av
import numpy as np
import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, similarity
from decoder.media import Format

TONE = media.warble(3)


@pytest.mark.parametrize("dtype", ["s16", "flac"])
def test_channels_that_cancel_give_one_channel(dtype):
    """One side is inverted, so their sum is silence."""
    stereo = np.stack([TONE, -TONE], axis=1).ravel()
    data = media.wav(stereo, n_channels=2)
    if dtype == "flac":
        data = _flac(stereo)
    samples, _ = decode(data)
    assert similarity(samples, TONE) > 0.99
    assert np.abs(samples).max() > 0.2


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_without_numbers_is_left_out(channel, nothing):
    """A filter that got one NaN writes nothing else to its channel. The sum of both would be NaN too."""
    stereo = np.repeat((TONE / 32768).astype(np.float32)[:, np.newaxis], 2, axis=1)
    stereo[TONE.size // 2 :, channel] = nothing
    samples, _ = decode(media.wav_of_floats(stereo))
    assert similarity(samples, TONE) > 0.99


def test_a_recording_of_two_bass_channels_is_decoded():
    """No channel is left to mix without them, which is no error of the service."""
    data = media.encode(Format("caf", "pcm_s16be", 16_000, 2), TONE)
    at = data.index(b"chan")
    screen, second = 4, 37  # Apple's labels of the two channels
    labels = struct.pack(">4sqIII", b"chan", 52, 0, 0, 2) + b"".join(
        struct.pack(">II12x", label, 0) for label in (screen, second)
    )
    n_old = 12 + int.from_bytes(data[at + 4 : at + 12], "big")
    samples, _ = decode(data[:at] + labels + data[at + n_old :])
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.1)


def _flac(interleaved: media.Pcm) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(interleaved[np.newaxis, :], format="s16", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
