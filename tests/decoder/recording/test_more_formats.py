"""Formats that only the ffmpeg program can write."""

import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.errors import UnsupportedAudio
from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.ffmpeg import video

pytestmark = pytest.mark.needs_program("ffmpeg")
TONE = media.warble(3)
TAG = b"ID3\x04\x00\x00\x00\x00\x02\x2c" + bytes(300)


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
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize(
    ("name", "arguments", "n_odd"),
    [
        ("a.ts", ("-c:a", "aac"), 1),
        ("a.vob", ("-c:a", "mp2"), 100),
        ("a.mpg", ("-c:a", "mp2"), 1000),
        ("a.ac3", ("-c:a", "ac3", "-ar", "48000"), 301),
        ("a.wma", ("-c:a", "wmav2", "-ar", "44100"), 0),
        ("a.mp3", ("-c:a", "libmp3lame", "-write_xing", "0", "-ar", "48000", "-b:a", "128k"), 300),
        ("a.mp2", ("-c:a", "mp2", "-ar", "48000", "-b:a", "128k"), 300),
        ("a.mlp", ("-c:a", "mlp", "-strict", "-2", "-ar", "48000"), 0),
        ("a.thd", ("-c:a", "truehd", "-strict", "-2", "-ar", "48000", "-ac", "2"), 0),
    ],
)
def test_a_stream_that_is_cut_off_within_a_packet_has_a_warning(write, name, arguments, n_odd):
    """The sizes of packets show it, or the size of the file in the header. The complete file has no warning."""
    data = write("-i", "a.wav", *arguments, name=name)
    assert sentences(decode(data)[1].warnings) == ()
    packet_bytes = {"ts": 188, "vob": 2048, "mpg": 2048, "ac3": 768, "mp3": 384, "mp2": 384}.get(
        name.partition(".")[2], 1
    )
    half = len(data) // packet_bytes // 2 * packet_bytes
    samples, audio = decode(data[: half + n_odd])
    assert 0.5 < len(samples) / SAMPLE_RATE < 2.5
    (warning,) = sentences(audio.warnings)
    assert warning.startswith("The file ends early")
    if name == "a.wma":
        assert "declares 3.0 s" in warning


@pytest.mark.parametrize("tail", [b"TAG".ljust(128, b"\x00"), media.noise(5000)], ids=["tag", "noise"])
def test_what_follows_the_last_unit_of_mlp_is_no_truncation(write, tail):
    """It is not the next unit: that would begin with a later time."""
    data = write("-i", "a.wav", "-c:a", "mlp", "-strict", "-2", "-ar", "48000", name="a.mlp")
    samples, audio = decode(data + tail)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.01)
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize(
    ("name", "arguments", "container"),
    [
        ("a.ts", ("-c:a", "mp2"), "MPEG-TS"),
        ("a.mpg", ("-c:a", "mp2"), "MPEG-PS"),
        ("a.latm", ("-c:a", "aac", "-f", "latm"), "AAC (LOAS)"),
        ("a.dts", ("-c:a", "dca", "-strict", "-2", "-ar", "48000", "-ac", "2"), "DTS"),
    ],
)
def test_a_broadcast_behind_another_recording_has_a_warning(write, name, arguments, container):
    """It has no signature, but a row of packets. In a file of its own they are no second recording."""
    data = write("-i", "a.wav", *arguments, name=name)
    assert sentences(decode(data)[1].warnings) == ()
    samples, audio = decode(media.encode(media.FLAC, TONE) + data)
    assert len(samples) == len(TONE)
    assert sentences(audio.warnings) == (
        f"A second recording ({container}) follows in the file. Only the first was decoded.",
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.flv", ("-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100", "-flvflags", "no_duration_filesize")),
        ("a.webm", ("-c:v", "libvpx", "-c:a", "libvorbis", "-live", "1")),
    ],
)
def test_a_film_without_a_duration_that_is_cut_off_has_a_warning(write, name, arguments):
    """The last packet that is incomplete may be one of the video. FFmpeg reads this file to its end to open it."""
    data = write(*video(3), "-i", "a.wav", *arguments, name=name)
    samples, audio = decode(data[: int(0.9 * len(data))])
    assert 2 < len(samples) / SAMPLE_RATE < 2.9
    (warning,) = sentences(audio.warnings)
    assert warning.startswith("The file ends early, in the middle of a packet")


@pytest.mark.parametrize(
    "tail", [bytes(5000), b"LYRICSBEGININD0000200LYR00005hello000035LYRICS200" + b"TAG".ljust(128, b"\x00"), TAG + TAG]
)
def test_what_follows_the_last_frame_of_an_mp3_file_is_no_truncation(write, tail):
    """Padding and tags that FFmpeg does not know: it hands them to the decoder."""
    data = write("-i", "a.wav", "-c:a", "libmp3lame", "-write_xing", "0", name="a.mp3")
    samples, audio = decode(data + tail)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.2)
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("a.nut", ("-c:a", "pcm_s16le")), ("a.sox", ()), ("a.rm", ("-c:a", "real_144", "-ar", "8000"))],
)
def test_a_container_that_is_not_supported_is_named_once(write, name, arguments):
    """The message does not describe the file as raw samples at the same time."""
    with pytest.raises(UnsupportedAudio) as refused:
        decode(write("-i", "a.wav", *arguments, name=name))
    assert f"This kind of file is not supported: FFmpeg's format '{name[2:]}'. Send" in refused.value.message
