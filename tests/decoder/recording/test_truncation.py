"""Whether a recording ends early."""

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences
from decoder.media import WMA, Format


@pytest.mark.parametrize("n_left_out", [0, 20_000])
def test_a_caf_file_of_a_streaming_writer_may_end_anywhere(n_left_out):
    """Its header has no size, as that of a WAV file from a pipe."""
    data = media.encode(Format("caf", "pcm_s16be"), media.warble(3))
    size_at = data.index(b"data") + 4
    data = data[:size_at] + b"\xff" * 8 + data[size_at + 8 : len(data) - n_left_out]
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3 - n_left_out / 2 / SAMPLE_RATE, abs=0.01)
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize(
    "fmt",
    [
        Format("aiff", "pcm_s16be"),
        Format("au", "pcm_s16be"),
        Format("wav", "pcm_s16le"),
        Format("caf", "pcm_s16be"),
    ],
    ids=lambda fmt: fmt.muxer,
)
@pytest.mark.parametrize("lost_s", [0, 0.3])
def test_a_short_end_is_missed_if_the_header_declares_the_size(fmt, lost_s):
    """Without an exact size, the end of a recording may differ from its header by half a second."""
    data = media.encode(fmt, media.warble(3))
    samples, audio = decode(data[: len(data) - round(lost_s * 2 * SAMPLE_RATE)])
    assert len(samples) / SAMPLE_RATE == pytest.approx(3 - lost_s, abs=0.01)
    expected = () if not lost_s else ("The file ends early: its header declares 3.0 s, 2.7 s are present.",)
    assert sentences(audio.warnings) == expected


def test_a_wma_file_that_is_shorter_than_its_header_says_has_a_warning():
    """Its header has the size of the file."""
    data = media.encode(WMA, media.warble(6, WMA.rate))
    assert sentences(decode(data)[1].warnings) == ()
    (warning,) = sentences(decode(data[:-5000])[1].warnings)
    assert warning.startswith("The file ends early: its header declares 6.0 s, 5.")


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
