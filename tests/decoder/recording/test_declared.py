"""The end that the header of a file declares."""

import struct

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences
from decoder.ffmpeg import video
from decoder.media import OPUS

PRE_SKIP_AT = 10  # in the header of Opus: RFC 7845, section 5.1


def _opus_that_skips(seconds: float) -> bytes:
    """Return a file of 6 s of which players skip this much at the start."""
    first, *others = media.ogg_pages(media.encode(OPUS, media.warble(6, OPUS.rate)))
    return _page_that_skips(first, seconds) + b"".join(others)


def _page_that_skips(page: bytes, seconds: float) -> bytes:
    at = page.index(b"OpusHead") + PRE_SKIP_AT
    page = page[:at] + struct.pack("<H", round(seconds * OPUS.rate)) + page[at + 2 :]
    return media.with_ogg_sum(page)


@pytest.mark.needs_program("ffmpeg")
@pytest.mark.parametrize("name", ["a.ogg", "a.mkv"])
def test_what_opus_skips_at_its_start_is_not_lost(write, tmp_path, name):
    """An editor cuts the start of a file without encoding it again. The duration of the file counts what was cut."""
    (tmp_path / "cut.opus").write_bytes(_opus_that_skips(1))
    samples, audio = decode(write("-i", "cut.opus", "-c", "copy", name=name))
    assert len(samples) / SAMPLE_RATE == pytest.approx(5, abs=0.05)
    assert audio.estimated_duration_s == pytest.approx(5, abs=0.05)
    assert sentences(audio.warnings) == ()


@pytest.mark.needs_program("ffmpeg")
def test_what_opus_skips_in_a_film_that_begins_earlier_is_not_lost(write, tmp_path):
    """The first packet begins before the sound that is played, so its own time is not when the sound starts."""
    film = write(*video(8), "-itsoffset", "2", "-i", "a.wav", "-c:v", "libtheora", "-c:a", "libopus", name="a.ogv")
    pages = media.ogg_pages(film)
    number = next(number for number, page in enumerate(pages) if b"OpusHead" in page)
    pages[number] = _page_that_skips(pages[number], 1)
    samples, audio = decode(b"".join(pages))
    assert len(samples) / SAMPLE_RATE == pytest.approx(2, abs=0.05)
    assert sentences(audio.warnings) == ("The audio starts 2.0 s after the beginning of the file.",)


@pytest.mark.needs_program("ffmpeg")
@pytest.mark.parametrize("codec", ["flac", "libopus", "libvorbis"])
def test_a_film_whose_pictures_last_longer_does_not_end_early(write, codec):
    """FFmpeg gives the sound the duration of the film."""
    film = write(*video(20), "-itsoffset", "12", "-i", "a.wav", "-c:v", "libtheora", "-c:a", codec, name="a.ogv")
    samples, audio = decode(film)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.05)
    assert sentences(audio.warnings) == ("The audio starts 12.0 s after the beginning of the file.",)
