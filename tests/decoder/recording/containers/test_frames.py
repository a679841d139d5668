"""Audio without a container that was joined to another recording."""

import io

import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.recording.containers import ac3, adts
from asr_service.decoder.recording.containers.frames import frames_behind
from decoder import media
from decoder.decoding import decode, sentences
from decoder.media import ADTS, FLAC, M4A, OPUS, Format, encode

TONE = media.warble(3)
AC3 = Format("ac3", "ac3", 48_000)
AC3_BETWEEN_RATES = Format("ac3", "ac3", 44_100)
EAC3 = Format("eac3", "eac3", 48_000)
MP2 = Format("mp2", "mp2")


def _encode(fmt: Format) -> bytes:
    return encode(fmt, media.warble(3, fmt.rate))


def _mp3() -> bytes:
    """Return an MP3 file without a tag."""
    return encode(Format("mp3", "libmp3lame"), TONE, id3v2_version="0", write_xing="0")


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        pytest.param(media.wav(TONE), _encode(ADTS), "AAC", id="wav-and-aac"),
        pytest.param(_encode(M4A), _encode(ADTS), "AAC", id="m4a-and-aac"),
        pytest.param(_encode(OPUS), _encode(ADTS), "AAC", id="opus-and-aac"),
        pytest.param(_mp3(), _encode(ADTS), "AAC", id="mp3-and-aac"),
        pytest.param(_encode(FLAC), _mp3(), "MP3", id="flac-and-mp3"),
        pytest.param(_encode(ADTS), _mp3(), "MP3", id="aac-and-mp3"),
        pytest.param(_encode(ADTS), _encode(AC3_BETWEEN_RATES), "AC-3", id="aac-and-ac3"),
        pytest.param(_encode(M4A), _encode(EAC3), "AC-3", id="m4a-and-eac3"),
        pytest.param(_encode(ADTS), media.wav(media.warble(20, 48_000), 48_000), "WAV or AVI", id="aac-and-wav"),
        pytest.param(_encode(ADTS), _encode(FLAC), "FLAC", id="aac-and-flac"),
    ],
)
def test_what_follows_frames_or_consists_of_them_has_a_warning(first, second, name):
    """The first recording is complete, so there is no other warning, although FFmpeg takes some bytes for frames."""
    samples, audio = decode(first + second)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.2)
    assert sentences(audio.warnings) == (
        f"A second recording ({name}) follows in the file. Only the first was decoded.",
    )


@pytest.mark.needs_program("ffmpeg")
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.ts"])
def test_the_frames_of_another_track_are_no_second_recording(write, name):
    """The other track is longer than the chosen one."""
    data = write(
        "-t",
        "1",
        "-i",
        "a.wav",
        "-i",
        "b.wav",
        "-map",
        "0",
        "-map",
        "1",
        "-c:a:0",
        "aac",
        "-c:a:1",
        "libmp3lame",
        name=name,
    )
    (warning,) = sentences(decode(data)[1].warnings)
    assert warning.startswith("The file has 2 audio tracks")


@pytest.mark.parametrize(
    ("fmt", "frame_bytes"),
    [(AC3, ac3.frame_bytes), (AC3_BETWEEN_RATES, ac3.frame_bytes), (EAC3, ac3.frame_bytes), (ADTS, adts.frame_bytes)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_file_is_a_row_of_frames(fmt, frame_bytes):
    """Each frame declares its size."""
    data, at = _encode(fmt), 0
    while at < len(data):
        n_bytes = frame_bytes(data[at : at + 7])
        assert n_bytes
        at += n_bytes
    assert at == len(data)


@pytest.mark.parametrize(
    "data",
    [media.noise(1_000_000), b"\xff" * 1_000_000, (b"\x0b\x77" + bytes(98)) * 10_000],
    ids=["noise", "ones", "marks"],
)
def test_noise_has_no_frames(data):
    """It contains the marks with which frames begin."""
    assert frames_behind(io.BytesIO(data), 0, b"") is None


def test_frames_of_the_recording_itself_are_no_second_one():
    """The end of a damaged file may not be decoded."""
    data = _encode(MP2)
    assert frames_behind(io.BytesIO(data), 0, data) is None
    assert frames_behind(io.BytesIO(data), 0, b"") == "MP3"
