"""Formats that only the ffmpeg program can write."""

import functools

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, similarity
from decoder.ffmpeg import ffmpeg, write_inputs

pytestmark = pytest.mark.needs_program("ffmpeg")
TONE = media.warble(3)


@pytest.fixture
def write(tmp_path):
    write_inputs(tmp_path)
    return functools.partial(ffmpeg, tmp_path)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.ts", ("-c:a", "aac")),
        ("latm.ts", ("-c:a", "aac", "-mpegts_flags", "latm")),
        ("a.flv", ("-c:a", "aac")),
        ("a.ac3", ("-c:a", "ac3", "-ar", "48000")),
        ("a.eac3", ("-c:a", "eac3", "-ar", "48000")),
        ("a.vob", ("-c:a", "mp2")),
        ("a.latm", ("-c:a", "aac", "-f", "latm")),
        ("a.wv", ("-c:a", "wavpack")),
        ("a.tta", ("-c:a", "tta")),
        ("a.voc", ("-c:a", "pcm_u8", "-ar", "8000")),
        ("dts.mkv", ("-c:a", "dca", "-strict", "-2", "-ar", "48000")),
        ("truehd.mkv", ("-c:a", "truehd", "-strict", "-2", "-ar", "48000", "-ac", "2")),
    ],
)
def test_a_film_or_broadcast_format_is_decoded(write, name, arguments):
    """The complete audio, without a warning."""
    samples, audio = decode(write("-i", "a.wav", *arguments, name=name))
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.25)
    assert similarity(samples, TONE) > 0.9
    assert audio.warnings == ()
