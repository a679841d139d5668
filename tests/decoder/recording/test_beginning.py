"""Where a recording begins."""

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.media import FLAC

TONE = media.warble(20)


@pytest.mark.needs_program("ffmpeg")
def test_a_flac_file_whose_beginning_was_cut_out_has_no_warning(write, tmp_path):
    """An editor copies the frames, which keep their numbers, and the header, which keeps its duration."""
    (tmp_path / "whole.flac").write_bytes(media.encode(FLAC, TONE))
    samples, audio = decode(write("-ss", "5", "-i", "whole.flac", "-c", "copy", name="rest.flac"))
    assert len(samples) / SAMPLE_RATE == pytest.approx(15, abs=0.3)
    assert similarity(samples, TONE[-len(samples) :]) > 0.95
    assert audio.estimated_duration_s == pytest.approx(15, abs=0.3)
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize("filler", [bytes(50_000), b""], ids=["overwritten", "missing"])
def test_a_flac_file_whose_beginning_was_lost_has_a_warning(filler):
    """What follows keeps its time."""
    data = media.encode(FLAC, TONE)
    audio_at = data.index(b"\xff\xf8")
    samples, audio = decode(data[:audio_at] + filler + data[audio_at + 50_000 :])
    assert audio.end_s == pytest.approx(20, abs=0.1)
    assert similarity(samples[-5 * SAMPLE_RATE :], TONE[-5 * SAMPLE_RATE :]) > 0.95
    lost_s = 20 - len(samples) / SAMPLE_RATE
    assert lost_s > 1
    assert sentences(audio.warnings) == (f"{lost_s:.1f} s of audio could not be decoded (damaged at 0.0 s).",)
