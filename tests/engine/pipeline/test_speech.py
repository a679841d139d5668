"""The chunks of a recording: what is found, and what the model gets."""

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from asr_service.audio.vad import VadOptions
from asr_service.decoder.pool import DecodedAudio
from asr_service.engine.decode.context import ChunkLengths
from asr_service.engine.pipeline.speech import SpeechChunker
from speech import RECORDINGS


class Samples:
    """A decoded recording without gaps."""

    gaps = ()

    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._rest = samples

    async def read(self, n_samples: int) -> NDArray[np.float32]:
        read, self._rest = self._rest[:n_samples], self._rest[n_samples:]
        return read

    def n_absent_before(self, _: int) -> int:
        return 0


@pytest.mark.parametrize(("gain", "offset"), [(0.001, 0.0), (0.2, 0.7)])
async def test_quiet_speech_and_an_offset_are_levelled_for_the_detection_only(gain: float, offset: float) -> None:
    """All of the speech is found, and the model gets it as it was recorded."""
    speech = decode_audio(str(RECORDINGS["en-wizard"].path))
    samples = (np.round((speech * gain + offset) * 32767) / 32768).astype(np.float32)
    with ThreadPoolExecutor(1) as pool:
        audio = cast("DecodedAudio", Samples(samples))
        chunker = SpeechChunker(audio, VadOptions(), ChunkLengths(30, 15), 60, pool, lambda _: None)
        (chunk,) = [chunk async for chunk in chunker.chunks()]
    assert chunker.speech_s > 4.3
    assert np.array_equal(chunk.samples, np.concatenate([samples[span.start : span.end] for span in chunk.spans]))
