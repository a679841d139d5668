"""The end that the header of a file declares."""

import struct

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences
from decoder.media import OPUS

PRE_SKIP_AT = 10  # in the header of Opus: RFC 7845, section 5.1


def _opus_that_skips(seconds: float) -> bytes:
    """Return a file of 6 s of which players skip this much at the start."""
    first, *others = media.ogg_pages(media.encode(OPUS, media.warble(6, OPUS.rate)))
    at = first.index(b"OpusHead") + PRE_SKIP_AT
    first = first[:at] + struct.pack("<H", round(seconds * OPUS.rate)) + first[at + 2 :]
    return media.with_ogg_sum(first) + b"".join(others)


@pytest.mark.needs_program("ffmpeg")
@pytest.mark.parametrize("name", ["a.ogg", "a.mkv"])
def test_what_opus_skips_at_its_start_is_not_lost(write, tmp_path, name):
    """An editor cuts the start of a file without encoding it again. The duration of the file counts what was cut."""
    (tmp_path / "cut.opus").write_bytes(_opus_that_skips(1))
    samples, audio = decode(write("-i", "cut.opus", "-c", "copy", name=name))
    assert len(samples) / SAMPLE_RATE == pytest.approx(5, abs=0.05)
    assert audio.estimated_duration_s == pytest.approx(5, abs=0.05)
    assert sentences(audio.warnings) == ()
