"""Recordings of one type in one file, which are decoded one after the other."""

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.media import FLAC, OPUS, Format

TONE = media.warble(3)
AMR = Format("amr", "libopencore_amrnb", 8_000)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (OPUS, Format("ogg", "libopus", 48_000, 2)),
        (Format("ogg", "libopus", 48_000, 2), OPUS),
        (Format("ogg", "vorbis", 44_100, 2), Format("ogg", "vorbis", 22_050, 2)),
        (Format("ogg", "flac", 16_000), OPUS),
        (FLAC, Format("flac", "flac", 44_100, 2)),
        (Format("au", "pcm_s16be"), Format("au", "pcm_s16be", 44_100, 2)),
        (Format("avi", "libmp3lame"), Format("avi", "pcm_s16le", 44_100)),
        (AMR, AMR),
    ],
    ids=lambda fmt: fmt.name,
)
def test_every_link_of_a_chained_file_is_decoded(first, second):
    """The next link may have another codec, rate or channel count. FFmpeg takes it for data of the first one."""
    data = b"".join(media.encode(fmt, media.warble(3, fmt.rate)) for fmt in (first, second))
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=0.2)
    assert similarity(samples[: 3 * SAMPLE_RATE], TONE) > 0.9
    assert similarity(samples[3 * SAMPLE_RATE :], TONE) > 0.9
    assert sentences(audio.warnings) == ()


def test_the_warnings_of_many_links_are_limited():
    """A radio stream that was recorded for days may have thousands of damaged links. The rest is decoded."""
    data = media.encode(OPUS, media.warble(3, OPUS.rate))
    headers = b"".join(media.ogg_pages(data)[:2])
    samples, audio = decode(data + 500 * headers + data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=0.2)
    assert len(sentences(audio.warnings)) == 21
    assert sentences(audio.warnings)[0].startswith("A part of the file, at 3.0 s, could not be decoded")
    assert sentences(audio.warnings)[-1] == "Other parts of the file have 480 more warnings."


@pytest.mark.parametrize(("seconds", "n_gaps"), [((0.05,), 1), ((0.05, 0.55), 1), ((1, 1), 2)])
def test_a_link_that_starts_late_may_follow_one_of_a_moment(seconds, n_gaps):
    """Each link but the first lost its first page. A gap so soon after another one is left out, and no audio is."""
    first, *others = (media.encode(OPUS, media.warble(s, OPUS.rate), page_duration="500000") for s in (*seconds, 4))
    samples, audio = decode(first + b"".join(map(_with_a_damaged_page, others)))
    assert len(samples) / SAMPLE_RATE == pytest.approx(sum(seconds) + 4 - 0.5 * len(others), abs=0.1)
    assert len(audio.gaps) == n_gaps


def _with_a_damaged_page(ogg: bytes) -> bytes:
    pages = media.ogg_pages(ogg)
    pages[2] = pages[2][:-1] + bytes([pages[2][-1] ^ 1])
    return b"".join(pages)
