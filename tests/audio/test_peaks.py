"""The waveform of a recording."""

import numpy as np
import pytest

from asr_service.audio.peaks import PeakMeter

INTERVAL = 800  # samples of a peak


def peaks_of(*parts: tuple[int, np.ndarray]) -> list[int]:
    meter = PeakMeter()
    for start, samples in parts:
        meter.add(samples.astype(np.float32), start)
    return list(meter.peaks().values)


@pytest.mark.parametrize("size", [1, 799, 800, 801, 5000])
def test_the_blocks_of_a_recording_make_no_difference(size):
    """Each peak is the largest absolute sample of its 50 ms, however the recording was cut into blocks."""
    samples = np.random.default_rng(0).uniform(-1, 1, 16_100)
    expected = [round(255 * np.abs(samples[at : at + INTERVAL]).max()) for at in range(0, len(samples), INTERVAL)]
    blocks = [(at, samples[at : at + size]) for at in range(0, len(samples), size)]
    assert peaks_of(*blocks) == expected


def test_a_gap_in_the_recording_is_silent():
    """Peaks are by the time of the recording, not by the number of samples."""
    loud = np.full(INTERVAL, -1.0)
    assert peaks_of((0, loud), (3 * INTERVAL, loud / 2), (4 * INTERVAL + 10, loud)) == [255, 0, 0, 128, 255, 255]


def test_a_recording_without_samples_has_no_peaks():
    assert peaks_of((0, np.empty(0))) == []
