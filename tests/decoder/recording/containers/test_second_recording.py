"""A second recording in a file, of which only the first is decoded."""

import struct

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences
from decoder.media import FLAC, M4A, MKV, MP3, WMA, Format

TONE = media.warble(3)
TAG = b"ID3\x03\x00\x00" + bytes([0, 0, 2, 44]) + bytes(300)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(media.wav(TONE) * 2, id="wav"),
        pytest.param(media.wav(TONE) + media.encode(FLAC, TONE), id="wav-and-flac"),
        *(
            pytest.param(media.encode(fmt, media.warble(3, fmt.rate)) * 2, id=fmt.muxer)
            for fmt in (
                M4A,
                MKV,
                WMA,
                Format("w64", "pcm_s16le"),
                Format("caf", "pcm_s16be"),
                Format("aiff", "pcm_s16be"),
                Format("flv", "aac"),
                Format("tta", "tta"),
                Format("voc", "pcm_u8"),
                Format("wv", "wavpack"),
            )
        ),
        pytest.param(media.encode(Format("wav", "pcm_s16le"), TONE, rf64="always") * 2, id="rf64"),
        pytest.param(media.encode(FLAC, TONE) + media.wav(TONE), id="flac-and-wav"),
        pytest.param(media.encode(FLAC, TONE) + TAG + media.encode(MP3, TONE), id="flac-and-tagged-mp3"),
    ],
)
def test_a_second_recording_in_the_file_has_a_warning(data):
    """Players stop at the end of the first one too, so the warning says that more follows."""
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.2)
    (warning,) = sentences(audio.warnings)
    assert warning.startswith("A second recording (")
    assert warning.endswith("Only the first was decoded.")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(media.wav(TONE) + b"id3 " + struct.pack("<I", len(TAG)) + TAG, id="wav-with-a-tag"),
        pytest.param(TAG + media.encode(FLAC, TONE) + TAG, id="flac-between-tags"),
        pytest.param(media.encode(Format("wv", "wavpack", 16_000, 6), TONE), id="blocks-of-several-channels"),
    ],
)
def test_what_belongs_to_a_recording_is_no_second_one(data):
    """Tags follow after the sound, and WavPack has a block for each pair of channels."""
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.1)
    assert audio.warnings == ()
