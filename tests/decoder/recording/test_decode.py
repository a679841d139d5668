"""Recordings of every supported format, through a real decoder child."""

import numpy as np
import pytest
from faster_whisper.audio import decode_audio

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecoderPool
from decoder import media
from decoder.decoding import BLOCK, decode, sentences, similarity, upload, with_pool
from decoder.media import FLAC, FORMATS, M4A, MP3, OPUS, WMA, Format


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_a_recording_of_any_format_is_decoded(fmt):
    """Any container, codec, rate, width and channel count gives the complete audio at 16 kHz, without a warning."""
    samples, audio = decode(media.encode(fmt, media.warble(2, fmt.rate)))
    assert samples.dtype == np.float32
    assert 2 - 0.05 < len(samples) / SAMPLE_RATE < 2 + 0.15  # codecs add padding
    assert similarity(samples, media.warble(2)) > 0.95
    assert sentences(audio.warnings) == ()
    assert audio.n_samples == len(samples)
    assert audio.estimated_duration_s == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        pytest.param(media.nist_sphere(media.warble(1)), 1, id="nist-sphere"),
        pytest.param(media.amr_wideband(50), 1, id="amr-wb"),
        pytest.param(media.gsm(50), 1, id="gsm"),
        pytest.param(media.wav(media.warble(1), declared_bytes=0xFFFF_FFFF), 1, id="wav-of-a-streaming-writer"),
        pytest.param(media.wav(media.warble(1), declared_bytes=0x7FFF_FFFF), 1, id="wav-with-a-placeholder"),
        pytest.param(media.wav(media.warble(0)), 0, id="wav-without-samples"),
        pytest.param(media.wav(media.warble(0.05)), 0.05, id="a-twentieth-of-a-second"),
    ],
)
def test_unusual_recordings_are_decoded_without_a_warning(data, seconds):
    """Formats that FFmpeg cannot write here, unfinished headers and very short audio."""
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(seconds, abs=0.001)
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize(
    "fmt", [FORMATS[0], FORMATS[2], FORMATS[4], FLAC, MP3, OPUS, M4A, WMA], ids=lambda fmt: fmt.name
)
def test_the_samples_equal_those_of_faster_whisper(fmt):
    """Every sample is equal, so that word error rates can be compared."""
    data = media.encode(fmt, media.warble(3, fmt.rate))
    with upload(data) as file:
        file.seek(0)
        assert np.array_equal(decode(data)[0], decode_audio(file))


def test_the_index_of_an_mp4_may_be_at_its_end():
    """MP4 writers put `moov` last. The decoder can seek to it."""
    data = media.encode(M4A, media.warble(2))
    assert data.index(b"moov") > data.index(b"mdat")
    assert similarity(decode(data)[0], media.warble(2)) > 0.95


@pytest.mark.parametrize("n_channels", [3, 9, 32])
def test_any_number_of_channels_is_mixed(n_channels):
    """Layouts unknown to FFmpeg are averaged."""
    data = media.wav(np.repeat(media.warble(1), n_channels), n_channels=n_channels)
    assert similarity(decode(data)[0], media.warble(1)) > 0.99


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska", "avi"])
def test_the_audio_of_a_video_is_decoded(muxer):
    """The video stream is skipped, and may be longer than the audio without a warning."""
    fmt = Format(muxer, "libmp3lame" if muxer == "avi" else "aac", 48_000)
    samples, audio = decode(media.encode_video(muxer, fmt, media.warble(2, 48_000), n_frames=40))
    assert similarity(samples, media.warble(2)) > 0.95
    assert sentences(audio.warnings) == ()


def test_a_file_is_decoded_from_its_beginning_and_keeps_its_position():
    """The child has its own position in the file."""
    data = media.wav(media.warble(1))

    async def use(pool: DecoderPool) -> int:
        with upload(data) as file:
            file.seek(1234)
            async with pool.decode(file) as audio:
                n_samples = len(await audio.read(BLOCK))
            assert file.tell() == 1234
            async with pool.decode(file.fileno()) as audio:
                assert len(await audio.read(BLOCK)) == n_samples
            return n_samples

    assert with_pool(use) == SAMPLE_RATE


def test_only_the_last_read_returns_fewer_samples():
    """`read` returns the requested number of samples, fewer at the end, and none after it."""

    async def use(pool: DecoderPool) -> list[int]:
        with upload(media.wav(media.warble(1))) as file:
            async with pool.decode(file) as audio:
                return [len(await audio.read(7_000)) for _ in range(4)]

    assert with_pool(use) == [7_000, 7_000, 2_000, 0]
