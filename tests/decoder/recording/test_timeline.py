"""Where the audio of a file lies in time: late starts, holes and files that are cut off."""

import re

import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecodedAudio
from asr_service.decoder.protocol import DecodeLimits
from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.ffmpeg import video
from decoder.media import OPUS, Format

pytestmark = pytest.mark.needs_program("ffmpeg")
TONE = media.warble(3)
LONG = media.warble(20)
NEAR_S = 0.1  # encoder delay and padding


@pytest.fixture
def write(write, tmp_path):
    """Write a file with ffmpeg; a.wav has 3 s and long.wav 20 s."""
    (tmp_path / "long.wav").write_bytes(media.wav(LONG))
    return write


def codec_of(name: str) -> str:
    codecs = {"webm": "libopus", "avi": "libmp3lame", "flv": "aac", "wmv": "wmav2", "ogv": "flac"}
    return codecs.get(name.rpartition(".")[2], "aac")


def vcodec_of(name: str) -> str:
    return {"webm": "libvpx", "flv": "flv", "ogv": "libtheora"}.get(name.rpartition(".")[2], "mpeg4")


def places(audio: DecodedAudio, samples: list[int]) -> list[float]:
    """Return the place of each of these samples in the recording, in seconds."""
    return [(sample + audio.n_absent_before(sample)) / SAMPLE_RATE for sample in samples]


@pytest.mark.parametrize("name", ["l.mkv", "l.mp4", "l.mov", "l.webm", "l.ts", "l.flv", "l.wmv", "l.ogv"])
def test_audio_that_starts_late_has_the_time_of_the_file(write, name):
    """The video starts at 0 and the audio at 2 s: so do players show it."""
    data = write(
        *video(5), "-itsoffset", "2", "-i", "a.wav", "-map", "0:v", "-map", "1:a",
        "-c:v", vcodec_of(name), "-c:a", codec_of(name), name=name,
    )  # fmt: skip
    samples, audio = decode(data)
    assert similarity(samples, TONE) > 0.95
    assert places(audio, [0]) == pytest.approx([2], abs=NEAR_S)
    assert audio.end_s == pytest.approx(5, abs=2 * NEAR_S)
    (warning,) = sentences(audio.warnings)
    assert warning.startswith("The audio starts ")


@pytest.mark.parametrize("codec", ["libmp3lame", "ac3"])
def test_the_empty_chunks_of_an_avi_file_last_as_long_as_others(write, codec):
    """AVI has no other timestamps. The encoder's first packet is at 0, and the sound starts at 2 s."""
    data = write(
        *video(5), "-itsoffset", "2", "-i", "a.wav", "-map", "0:v", "-map", "1:a", "-ar", "48000",
        "-c:v", "mpeg4", "-c:a", codec, name="l.avi",
    )  # fmt: skip
    samples, audio = decode(data)
    assert similarity(samples, TONE) > 0.95
    assert places(audio, [SAMPLE_RATE // 10]) == pytest.approx([2.1], abs=NEAR_S)
    assert audio.end_s == pytest.approx(5, abs=NEAR_S)
    (warning,) = sentences(audio.warnings)
    assert warning.startswith("The file has no audio from 0.")


def test_an_avi_stream_may_begin_late():
    """Its header has the time of its first chunk. A file that was joined to it begins where it ends."""
    data = bytearray(media.encode(Format("avi", "pcm_s16le"), TONE))
    start_at = data.index(b"strh") + 36
    data[start_at : start_at + 4] = (2 * SAMPLE_RATE).to_bytes(4, "little")
    samples, audio = decode(bytes(data) * 2)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=NEAR_S)
    assert places(audio, [0, 4 * SAMPLE_RATE]) == pytest.approx([2, 8], abs=NEAR_S)
    assert sentences(audio.warnings) == ("The audio starts 2.0 s after the beginning of the file.",) * 2


@pytest.mark.parametrize("name", ["l.mka", "l.ts"])
def test_a_file_in_which_every_stream_starts_late_begins_there(write, name):
    """The time is that from the start of the container, which is where players begin."""
    data = write("-itsoffset", "7", "-i", "a.wav", "-c:a", "aac", "-muxdelay", "0", name=name)
    samples, audio = decode(data)
    assert similarity(samples, TONE) > 0.95
    assert places(audio, [0]) == pytest.approx([0], abs=NEAR_S)


@pytest.mark.parametrize("name", ["h.mkv", "h.mp4", "h.webm", "h.mka", "h.ts", "h.flv", "h.avi"])
def test_what_follows_a_hole_keeps_its_time(write, name):
    """Audio packets from 5 to 13 s are absent. The rest has its own time, and a warning names the hole."""
    inputs: tuple[str, ...] = ("-i", "long.wav", "-map", "0:a", "-c:a", codec_of(name))
    if not name.endswith("mka"):
        inputs = (*video(20), "-i", "long.wav", "-map", "0:v", "-map", "1:a", "-c:v", vcodec_of(name), *inputs[4:])
    write(*inputs, name="full." + name[2:])
    drop = "noise=drop='between(pts*tb\\,5\\,13)'"
    data = write("-i", "full." + name[2:], "-c", "copy", "-bsf:a", drop, name=name)
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(12, abs=0.3)
    assert audio.end_s == pytest.approx(20, abs=0.3)
    (gap,) = [gap for gap in audio.gaps if gap.n_absent > SAMPLE_RATE]
    assert gap.at / SAMPLE_RATE == pytest.approx(5, abs=0.2)
    assert places(audio, [gap.at]) == pytest.approx([13], abs=0.2)
    after = samples[gap.at + SAMPLE_RATE :]
    assert similarity(after, LONG[14 * SAMPLE_RATE :]) > 0.9
    (warning,) = [warning for warning in sentences(audio.warnings) if "no audio from" in warning]
    assert warning[:35] in {"The file has no audio from 5.0 s to", "The file has no audio from 5.1 s to"}


@pytest.mark.parametrize(
    "fmt", [OPUS, Format("ogg", "vorbis", 44_100, 2), Format("ogg", "flac", 44_100)], ids=lambda fmt: fmt.name
)
def test_a_radio_stream_that_was_recorded_from_its_middle_has_no_warning(fmt):
    """Its pages count the time since the station began, which is no part of the recording."""
    pages = media.ogg_pages(media.encode(fmt, media.warble(6, fmt.rate), page_duration="500000"))
    rest = pages[2 + (len(pages) - 2) // 2 :]
    samples, audio = decode(b"".join([*pages[:2], *rest]), DecodeLimits(max_audio_s=5))
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.3)
    assert (sentences(audio.warnings), audio.gaps) == ((), [])
    assert audio.estimated_duration_s == pytest.approx(3, abs=0.3)


def test_a_film_with_flac_that_was_recorded_from_its_middle_has_no_warning(write):
    """The pages of both streams count the time since the film began. FFmpeg counts those of FLAC from 0."""
    film = write(
        *video(20), "-i", "long.wav", "-c:v", "libtheora", "-c:a", "flac", "-page_duration", "500000", name="m.ogv"
    )
    headers = [page for page in media.ogg_pages(film) if not any(page[6:14])]
    pages = media.ogg_pages(film)
    samples, audio = decode(b"".join([*headers, *pages[len(pages) // 2 :]]))
    assert len(samples) / SAMPLE_RATE == pytest.approx(10, abs=1)
    assert similarity(samples, LONG[-len(samples) :]) > 0.95
    assert audio.end_s == pytest.approx(10, abs=1)
    assert sentences(audio.warnings) == ()


def test_fragments_from_the_middle_of_an_mp4_have_no_warning():
    """Segments of a stream have the time since its beginning, which is no part of the recording."""
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}
    head, *fragments = re.split(rb"(?s)(?=.{4}moof)", media.encode(Format("mp4", "aac"), media.warble(6), **flags))
    samples, audio = decode(head + b"".join(fragments[len(fragments) // 2 :]), DecodeLimits(max_audio_s=5))
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.6)
    assert (sentences(audio.warnings), audio.gaps) == ((), [])


def test_a_stream_without_timestamps_has_no_gap_where_its_sample_rate_changes():
    """Files were joined. FFmpeg counts the time of all packets at the first rate."""
    parts = [media.encode(Format("adts", "aac", rate), media.warble(3, rate)) for rate in (16_000, 48_000)]
    samples, audio = decode(b"".join(parts))
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=0.5)
    assert audio.end_s == pytest.approx(len(samples) / SAMPLE_RATE, abs=NEAR_S)


def test_the_packets_of_an_avi_file_follow_each_other():
    """AVI stores no timestamps. FFmpeg counts some packets as several, which are no gaps."""
    samples, audio = decode(media.encode(Format("avi", "vorbis", 48_000, 2), media.warble(3, 48_000)))
    assert similarity(samples, TONE) > 0.95
    assert audio.end_s == pytest.approx(3, abs=NEAR_S)
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize("name", ["c.mkv", "c.webm", "c.avi", "c.flv", "c.mka"])
def test_a_film_that_is_cut_off_has_a_warning(write, name):
    """The rest of the file is absent, and the warning says that it ends early."""
    inputs = (*video(20), "-i", "long.wav", "-map", "0:v", "-map", "1:a", "-c:v", vcodec_of(name))
    if name.endswith("mka"):
        inputs = ("-i", "long.wav")
    data = write(*inputs, "-c:a", codec_of(name), name=name)
    complete = decode(data)[1]
    assert sentences(complete.warnings) == ()
    for share in (0.25, 0.5):
        samples, audio = decode(data[: int(share * len(data))])
        assert 0 < len(samples) < 0.8 * len(LONG)
        (warning,) = sentences(audio.warnings)
        assert warning.startswith("The file ends early")
