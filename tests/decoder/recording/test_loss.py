"""Warnings about lost audio, from made-up packets."""

from asr_service.decoder.recording.loss import LossMeter
from decoder.decoding import sentences


def play(meter: LossMeter, *spans: tuple[float, float], failing: tuple[int, ...] = (), suspect: bool = False) -> None:
    """Record packets of 0.1 s over each span. Those whose number is in `failing` fail to decode."""
    starts = [start + 0.1 * i for start, end in spans for i in range(round((end - start) / 0.1))]
    for n, start_s in enumerate(starts):
        meter.packet_read(start_s, 0.1, suspect=suspect)
        if n in failing:
            meter.packet_failed(0.1)
        else:
            meter.packet_decoded(0.1, 100)


def test_a_complete_recording_has_no_warning():
    """Nothing is missing, so `report` is empty."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=True)
    play(meter, (0, 10))
    assert sentences(meter.report(10.0, 10_000, truncated=False)) == ()
    assert meter.lost_s == 0


def test_padding_is_not_loss():
    """Encoders declare a little more than they wrote."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=True)
    play(meter, (0, 10))
    assert sentences(meter.report(10.4, 10_000, truncated=False)) == ()


def test_a_pause_in_the_recording_is_not_loss():
    """Matroska's timestamps have a gap at a pause. If the demuxer logged no problem, the warning only names the gap."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=False)
    play(meter, (0, 5), (60, 65))
    assert sentences(meter.report(65.0, 10_000, truncated=False)) == ("The file has no audio from 5.0 s to 60.0 s.",)
    assert meter.lost_s == 0


def test_several_pauses_are_one_warning():
    """The warning has their number, their duration and the first of them. Short ones are not named."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=False)
    play(meter, (0, 5), (7, 8), (9, 10), (10.4, 11))
    (warning,) = sentences(meter.report(11.0, 10_000, truncated=False))
    assert warning == "The file has no audio in 2 places, 3.0 s in all, the first from 5.0 s to 7.0 s."


def test_a_late_start_is_named():
    """The places of damage and the end are those of the file: a late start is no loss."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=False)
    play(meter, (5, 10), failing=(20,))
    assert sentences(meter.report(10.0, 10_000, truncated=False)) == (
        "The audio starts 5.0 s after the beginning of the file.",
        "0.10 s of audio could not be decoded (damaged at 7.0 s).",
    )


def test_a_gap_with_a_logged_problem_is_loss():
    """The warning names the duration of the gap and its position."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=False)
    play(meter, (0, 5))
    play(meter, (7, 10), suspect=True)
    (warning,) = sentences(meter.report(10.0, 10_000, truncated=False))
    assert warning == "2.0 s of audio could not be decoded (damaged at 5.0 s)."


def test_damaged_places_are_counted():
    """Three failures next to each other are one place."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=False)
    play(meter, (0, 10), failing=(20, 21, 22, 70))
    (warning,) = sentences(meter.report(10.0, 10_000, truncated=False))
    assert warning == "0.40 s of audio could not be decoded (damaged in 2 places, the first at 2.0 s)."


def test_the_loss_of_a_bare_stream_is_estimated_from_its_bytes():
    """The timestamps of MP3 hide a gap; the bytes that were not decoded show its duration."""
    meter = LossMeter(has_timestamps=False, gaps_are_loss=False)
    play(meter, (0, 9), failing=(40,))
    (warning,) = sentences(meter.report(None, 10_000, truncated=False))
    assert warning == "1.1 s of audio could not be decoded (damaged at 4.0 s)."


def test_damage_at_the_end_is_reported_as_an_early_end():
    """There is one warning, not two."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=True)
    play(meter, (0, 5), failing=(49,))
    (warning,) = sentences(meter.report(12.0, 10_000, truncated=False))
    assert warning == "The file ends early: its header declares 12.0 s, 4.9 s are present."


def test_loss_without_other_evidence_is_reported():
    """A missing OGG page gives no failed packet and no gap, but less audio than the header declares."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=True)
    for n in range(80):  # 8 s of audio in packets whose timestamps cover 10 s
        meter.packet_read(n * 0.125, 0.125, suspect=False)
        meter.packet_decoded(0.1, 100)
    assert sentences(meter.report(10.0, 10_000, truncated=False)) == ("2.0 s of audio could not be decoded.",)


def test_packets_of_unknown_duration_are_no_gaps():
    """FLV has packets of 0.4 s and only says when they start. Otherwise the gaps would hide the early end."""
    meter = LossMeter(has_timestamps=True, gaps_are_loss=False)
    for n in range(5):
        meter.packet_read(0.4 * n, 0.0, suspect=False)
        meter.packet_decoded(0.4, 100)
    assert sentences(meter.report(4.0, 10_000, truncated=False)) == (
        "The file ends early: its header declares 4.0 s, 2.0 s are present.",
    )


def test_what_is_no_audio_is_damage_only_before_audio():
    """Tags and padding follow after the last frame of an MP3 file."""
    meter = LossMeter(has_timestamps=False, gaps_are_loss=False)
    play(meter, (0, 5))
    meter.packet_not_audio(0.1)
    assert sentences(meter.report(None, 10_000, truncated=False)) == ()
    play(meter, (5, 10))
    assert sentences(meter.report(None, 10_100, truncated=False)) == (
        "0.10 s of audio could not be decoded (damaged at 5.0 s).",
    )
