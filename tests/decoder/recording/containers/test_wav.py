"""The duration in the header of a WAV file."""

import io

import pytest

from asr_service.decoder.recording.containers.wav import declared_duration_s
from decoder import media


@pytest.mark.parametrize(
    ("declared_bytes", "seconds"), [(320_000, 10.0), (0, 0.0), (0xFFFF_FFFF, None), (0x7FFF_FFFF, None)]
)
def test_a_wav_header_declares_its_duration(declared_bytes, seconds):
    """The placeholder of a streaming writer declares nothing."""
    data = media.wav(media.warble(0.1), declared_bytes=declared_bytes)
    listed = data[:12] + b"LIST\x05\x00\x00\x00title\x00" + data[12:]
    assert declared_duration_s(io.BytesIO(listed)) == seconds


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVE", b"RIFF\x00\x00\x00\x00WAVEdata\x01\x00\x00\x00"]
)
def test_an_incomplete_wav_header_declares_no_duration(data):
    """The header is truncated, or has no byte rate."""
    assert declared_duration_s(io.BytesIO(data)) is None
