"""What is said to be lost, from packets told by hand."""

import io

import pytest

from asr_service.decoder.sandboxed.loss import LossMeter
from asr_service.decoder.sandboxed.sniff import describe, ogg_is_cut, wav_announced_s
from decoder import media


def play(meter: LossMeter, *spans: tuple[float, float], failing: tuple[int, ...] = (), suspect: bool = False) -> None:
    """Packets of 0.1 s over each span of time; those counted in `failing` do not decode."""
    starts = [start + 0.1 * i for start, end in spans for i in range(round((end - start) / 0.1))]
    for n, start_s in enumerate(starts):
        meter.arrived(start_s, 0.1, suspect=suspect)
        if n in failing:
            meter.failed(0.1)
        else:
            meter.decoded(0.1, 100)


def test_a_whole_recording_has_no_warning():
    """Nothing is missing, nothing is said."""
    meter = LossMeter(timestamps=True, gaps_are_loss=True)
    play(meter, (0, 10))
    assert meter.report(10.0, 10_000, cut=False) == ()
    assert meter.lost_s == 0


def test_padding_is_no_loss():
    """Encoders announce a little more than they wrote."""
    meter = LossMeter(timestamps=True, gaps_are_loss=True)
    play(meter, (0, 10))
    assert meter.report(10.4, 10_000, cut=False) == ()


def test_a_pause_of_the_one_who_recorded_is_no_loss():
    """Matroska's timestamps jump over a pause; without a complaint of the demuxer that is not damage."""
    meter = LossMeter(timestamps=True, gaps_are_loss=False)
    play(meter, (0, 5), (60, 65))
    assert meter.report(65.0, 10_000, cut=False) == ()


def test_a_jump_with_a_complaint_is_a_loss():
    """The same jump where the demuxer stumbled: the hole, and where it is."""
    meter = LossMeter(timestamps=True, gaps_are_loss=False)
    play(meter, (0, 5))
    play(meter, (7, 10), suspect=True)
    (warning,) = meter.report(10.0, 10_000, cut=False)
    assert warning == "2.0 s of audio could not be decoded (damaged at 5.0 s)"


def test_places_are_counted():
    """Three failures next to one another are one place."""
    meter = LossMeter(timestamps=True, gaps_are_loss=False)
    play(meter, (0, 10), failing=(20, 21, 22, 70))
    (warning,) = meter.report(10.0, 10_000, cut=False)
    assert warning == "0.40 s of audio could not be decoded (damaged in 2 places, the first at 2.0 s)"


def test_a_bare_stream_is_reckoned_by_its_bytes():
    """MP3's timestamps close over a hole; the bytes that did not decode tell its length."""
    meter = LossMeter(timestamps=False, gaps_are_loss=False)
    play(meter, (0, 9), failing=(40,))
    (warning,) = meter.report(None, 10_000, cut=False)
    assert warning == "1.1 s of audio could not be decoded (damaged at 4.0 s)"


def test_damage_at_the_end_is_a_file_that_ends_early():
    """One story, not two."""
    meter = LossMeter(timestamps=True, gaps_are_loss=True)
    play(meter, (0, 5), failing=(49,))
    (warning,) = meter.report(12.0, 10_000, cut=False)
    assert warning == "the file ends early: 12.0 s announced, 4.9 s present"


def test_what_is_lost_without_a_trace_is_counted():
    """A page of OGG that vanished whole: no failure, no jump that was seen, and less than was announced."""
    meter = LossMeter(timestamps=True, gaps_are_loss=True)
    for n in range(80):  # 8 s of packets whose timestamps spread over 10
        meter.arrived(n * 0.125, 0.125, suspect=False)
        meter.decoded(0.1, 100)
    assert meter.report(10.0, 10_000, cut=False) == ("2.0 s of audio could not be decoded",)


@pytest.mark.parametrize(
    ("announced_bytes", "seconds"), [(320_000, 10.0), (0, 0.0), (0xFFFF_FFFF, None), (0x7FFF_FFFF, None)]
)
def test_a_wav_header_announces_its_seconds(announced_bytes, seconds):
    """The placeholder of a writer that streamed announces nothing."""
    data = media.wav(media.warble(0.1), announced_bytes=announced_bytes)
    listed = data[:12] + b"LIST\x05\x00\x00\x00title\x00" + data[12:]
    assert wav_announced_s(io.BytesIO(listed)) == seconds


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVE", b"RIFF\x00\x00\x00\x00WAVEdata\x01\x00\x00\x00"]
)
def test_a_wav_header_that_is_none_announces_nothing(data):
    """Cut anywhere, and without a rate."""
    assert wav_announced_s(io.BytesIO(data)) is None


def test_an_ogg_file_is_cut_where_its_last_page_is():
    """A whole file, one byte less, and a cut through the page's own header."""
    whole = media.encode(media.Form("ogg", "libopus", 48_000), media.warble(1, 48_000))
    last_page = whole.rindex(b"OggS")
    assert not ogg_is_cut(io.BytesIO(whole))
    assert ogg_is_cut(io.BytesIO(whole[:-1]))
    assert ogg_is_cut(io.BytesIO(whole[: last_page + 10]))
    assert not ogg_is_cut(io.BytesIO(whole[:last_page]))


@pytest.mark.parametrize(
    ("head", "seen"),
    [
        (b"\xef\xbb\xbf#EXTM3U\n", "playlist"),
        (b"  <!DOCTYPE HTML>", "web page"),
        (b'<?xml version="1.0"?><MPD/>', "XML"),
        (b"Sehr geehrte Frau M\xc3\xbcller,", "text"),
        (bytes(40), "zero bytes"),
        (media.noise(400), "raw samples"),
    ],
)
def test_a_stranger_is_told_what_the_file_looks_like(head, seen):
    """In words, whatever stands before the signature."""
    assert seen in describe(head)
