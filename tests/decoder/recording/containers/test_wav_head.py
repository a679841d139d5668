"""WAV files whose chunks before the sound have wrong sizes."""

import struct

import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.errors import UndecodableAudio
from decoder import media
from decoder.decoding import decode, sentences, similarity

TONE = media.warble(3)
WAV = media.wav(TONE)
RIFF_BYTES, FORMAT_END = 12, 36


def _tag(n_bytes: int, declared_bytes: int) -> bytes:
    return b"LIST" + struct.pack("<I", declared_bytes) + b"INFOISFT metadata"[:n_bytes].ljust(n_bytes, b".")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(WAV[:FORMAT_END] + _tag(27, 27) + WAV[FORMAT_END:], id="without-padding"),
        pytest.param(WAV[:RIFF_BYTES] + _tag(27, 27) + WAV[RIFF_BYTES:], id="without-padding-before-the-format"),
        pytest.param(WAV[:FORMAT_END] + _tag(28, 36) + WAV[FORMAT_END:], id="too-long"),
        pytest.param(WAV[:FORMAT_END] + _tag(28, 20) + WAV[FORMAT_END:], id="too-short"),
        pytest.param(WAV[:16] + struct.pack("<I", 18) + WAV[20:], id="the-format"),
        pytest.param(
            WAV[:FORMAT_END] + _tag(27, 27) + b"data" + b"\xff" * 4 + WAV[FORMAT_END + 8 :], id="without-any-size"
        ),
    ],
)
def test_the_sound_is_found_behind_a_chunk_of_a_wrong_size(data):
    """All of the sound is there, so there is no warning."""
    samples, audio = decode(data)
    assert len(samples) == len(TONE)
    assert similarity(samples, TONE) > 0.99
    assert sentences(audio.warnings) == ()


def test_the_chunk_may_be_long_and_the_file_truncated():
    """The header still declares the size of the complete sound."""
    data = WAV[:RIFF_BYTES] + _tag(200_001, 200_001) + WAV[RIFF_BYTES:]
    samples, audio = decode(data[:-SAMPLE_RATE])
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.5, abs=0.01)
    assert sentences(audio.warnings) == ("The file ends early: its header declares 3.0 s, 2.5 s are present.",)


def test_the_name_of_the_chunk_in_a_text_is_not_taken_for_it():
    """No size follows there that could be true."""
    with pytest.raises(UndecodableAudio):
        decode(WAV[:FORMAT_END] + b"LIST" + struct.pack("<I", 5) + 1000 * b"metadata ")
