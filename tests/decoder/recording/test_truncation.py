"""Whether a recording ends early."""

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences
from decoder.media import Format


@pytest.mark.parametrize("n_left_out", [0, 20_000])
def test_a_caf_file_of_a_streaming_writer_may_end_anywhere(n_left_out):
    """Its header has no size, as that of a WAV file from a pipe."""
    data = media.encode(Format("caf", "pcm_s16be"), media.warble(3))
    size_at = data.index(b"data") + 4
    data = data[:size_at] + b"\xff" * 8 + data[size_at + 8 : len(data) - n_left_out]
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3 - n_left_out / 2 / SAMPLE_RATE, abs=0.01)
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize("n_left_out", [0, 1, 33, 50])
def test_a_gsm_file_that_is_cut_off_within_a_frame_has_a_warning(n_left_out):
    """FFmpeg leaves out an incomplete frame. One that ends between two frames does not show it."""
    data = media.gsm(300)
    samples, audio = decode(data[: len(data) - n_left_out])
    assert len(samples) == 320 * ((len(data) - n_left_out) // 33)
    is_cut = bool(n_left_out % 33)
    assert [warning.code for warning in audio.warnings] == ["ends_in_packet"] * is_cut


@pytest.mark.needs_program("ffmpeg")
def test_an_avi_file_from_a_pipe_has_no_declared_end(write):
    """Its header has placeholders for all sizes."""
    data = write("-i", "a.wav", "-c:a", "libmp3lame", "-f", "avi", "-seekable", "0", name="a.avi")
    assert data[4:8] == b"\xff" * 4
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.2)
    assert sentences(audio.warnings) == ()
