"""A second recording in a file, of which only the first is decoded."""

import struct

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences
from decoder.media import ADTS, FLAC, M4A, MKV, MP3, WMA, Format

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


AMR = media.encode(Format("amr", "libopencore_amrnb", 8_000), media.warble(3, 8_000))
AU = media.encode(Format("au", "pcm_s16be"), TONE)


@pytest.mark.parametrize(
    ("first", "seconds"),
    [
        pytest.param(AMR, 3, id="amr"),
        pytest.param(AMR * 2, 6, id="two-of-amr"),
        pytest.param(AU, 3, id="au"),
        pytest.param(media.gsm(150), 3, id="gsm"),
    ],
)
@pytest.mark.parametrize(
    ("second", "name"),
    [
        pytest.param(media.wav(TONE), "WAV or AVI", id="wav"),
        pytest.param(media.encode(M4A, TONE), "MP4", id="m4a"),
        pytest.param(media.encode(ADTS, TONE), "AAC", id="aac"),
        pytest.param(media.encode(MP3, TONE), "MP3", id="mp3"),
    ],
)
def test_another_recording_is_not_decoded_as_frames_of_the_first(first, seconds, second, name):
    """FFmpeg takes everything behind the head of AMR, AU and GSM for sound, which is noise here."""
    samples, audio = decode(first + second)
    assert len(samples) / SAMPLE_RATE == pytest.approx(seconds, abs=0.1)
    assert sentences(audio.warnings) == (
        f"A second recording ({name}) follows in the file. Only the first was decoded.",
    )


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
