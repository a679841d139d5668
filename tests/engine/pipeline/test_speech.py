"""The chunks of a recording: what is found, and what the model gets."""

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.peaks import PeakMeter
from asr_service.audio.vad import SpeechSpan, VadOptions
from asr_service.decoder.pool import DecodedAudio, Gap
from asr_service.engine.decode.context import ChunkLengths
from asr_service.engine.pipeline.speech import SpeechChunker
from speech import RECORDINGS


class Samples:
    """A decoded recording, whose gaps are known from the start."""

    def __init__(self, samples: NDArray[np.float32], *gaps: Gap) -> None:
        self._rest = samples
        self.gaps = list(gaps)
        self.n_samples = 0

    async def read(self, n_samples: int) -> NDArray[np.float32]:
        read, self._rest = self._rest[:n_samples], self._rest[n_samples:]
        self.n_samples += len(read)
        return read

    def n_absent_before(self, sample: int) -> int:
        return max((gap.n_absent for gap in self.gaps if gap.at <= sample), default=0)


@pytest.mark.parametrize(("gain", "offset"), [(0.001, 0.0), (0.2, 0.7)])
async def test_quiet_speech_and_an_offset_are_levelled_for_the_detection_only(gain: float, offset: float) -> None:
    """All of the speech is found, and the model gets it as it was recorded."""
    speech = decode_audio(str(RECORDINGS["en-wizard"].path))
    samples = (np.round((speech * gain + offset) * 32767) / 32768).astype(np.float32)
    with ThreadPoolExecutor(1) as pool:
        audio = cast("DecodedAudio", Samples(samples))
        chunker = SpeechChunker(audio, VadOptions(), ChunkLengths(30, 15, 15), 60, pool, lambda _: None)
        (chunk,) = [chunk async for chunk in chunker.chunks()]
    assert chunker.speech_s > 4.3
    assert np.array_equal(chunk.samples, np.concatenate([samples[span.start : span.end] for span in chunk.spans]))


async def test_the_peaks_are_at_their_times_in_a_recording_with_gaps() -> None:
    """A late start of 1 s, and 2 s that are missing after 90 s, in the second block: both are silent."""
    audio = Samples(
        np.full(100 * SAMPLE_RATE, 0.5, np.float32), Gap(0, SAMPLE_RATE), Gap(90 * SAMPLE_RATE, 3 * SAMPLE_RATE)
    )
    peaks = PeakMeter()
    with ThreadPoolExecutor(1) as pool:
        chunker = SpeechChunker(
            cast("DecodedAudio", audio), None, ChunkLengths(30, 15, 15), 300, pool, lambda _: None, peaks
        )
        assert [chunk async for chunk in chunker.chunks()]
    values = peaks.peaks().values
    assert values == bytes(20) + bytes([128]) * 90 * 20 + bytes(40) + bytes([128]) * 10 * 20


async def test_speech_after_a_gap_has_its_time_in_the_recording() -> None:
    """8 s are missing after 5 s. The chunk goes on after the gap, and a time after it includes the gap."""
    audio = Samples(np.full(12 * SAMPLE_RATE, 0.5, np.float32), Gap(5 * SAMPLE_RATE, 8 * SAMPLE_RATE))
    with ThreadPoolExecutor(1) as pool:
        chunker = SpeechChunker(cast("DecodedAudio", audio), None, ChunkLengths(30, 22, 60), 300, pool, lambda _: None)
        (chunk,) = [chunk async for chunk in chunker.chunks()]
    assert [chunk.to_source_time(time_s, is_end=is_end) for time_s, is_end in ((4, False), (5, True), (5, False))] == [
        4, 5, 13,
    ]  # fmt: skip
    assert chunk.to_source_time(12, is_end=True) == 20


@pytest.mark.parametrize(("speech_s", "length_s", "is_part"), [(29, 59, False), (20, 90, False), (25, 90, True)])
async def test_a_recording_with_little_speech_is_one_window(
    speech_s: int, length_s: int, is_part: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its window has the padding of a clip. A long recording with more speech than one of its windows has several."""
    found = [SpeechSpan(0, speech_s * SAMPLE_RATE)]
    monkeypatch.setattr("asr_service.engine.pipeline.speech._detect_in", lambda *_: found)
    audio = cast("DecodedAudio", Samples(np.full(length_s * SAMPLE_RATE, 0.5, np.float32)))
    with ThreadPoolExecutor(1) as pool:
        chunker = SpeechChunker(audio, VadOptions(), ChunkLengths(30, 22, 60), 300, pool, lambda _: None)
        assert [chunk.is_part async for chunk in chunker.chunks()] == [is_part]
