"""The headers of MPEG audio."""

import pytest

from asr_service.decoder.recording.containers.mpeg_audio import frame_bytes


@pytest.mark.parametrize(
    ("header", "n_bytes"),
    [
        ("fffb9000", 417),  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz
        ("fff38462", 192),  # MPEG-2 layer III, 64 kbit/s, 24 kHz
        ("ffe318c4", 72),  # MPEG-2.5 layer III, 8 kbit/s, 8 kHz
        ("fffd8404", 384),  # MPEG-1 layer II, 128 kbit/s, 48 kHz
        ("ffff1800", 48),  # MPEG-1 layer I, 32 kbit/s, 32 kHz
        ("fffb0000", 0),
        ("fffbf000", None),
        ("49443304", None),
        ("fffb", None),
    ],
)
def test_a_frame_of_mpeg_audio_has_its_size_in_its_header(header, n_bytes):
    """Free format has none, and a reserved bit rate or something else is no frame."""
    assert frame_bytes(bytes.fromhex(header)) == n_bytes
