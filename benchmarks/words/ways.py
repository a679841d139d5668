"""The ways to transcribe whose word times are compared."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import faster_whisper

from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.hardware.devices import Slot
from asr_service.hardware.spec import parse_devices
from asr_service.settings import load_settings
from asr_service.transcript import Transcript, Word
from benchmarks.common.engine import running_engine

TEXT: Final = "text"
SHORT: Final = "words, default context"
FULL: Final = "words, full context"
BASELINE: Final = "faster-whisper, words"


class Transcribers:
    """The ways to transcribe a file, all with one precision and beam."""

    def __init__(self, short: Transcriber, full: Transcriber, baseline: faster_whisper.WhisperModel) -> None:
        """Create the ways from two engines and a model of faster-whisper."""
        self._short, self._full, self._baseline = short, full, baseline

    async def words(self, way: str, path: Path, language: str | None) -> list[Word]:
        """Transcribe a file and return its words; none for text."""
        if way == BASELINE:
            return list(await asyncio.to_thread(self._baseline_words, path, language))
        options = DecodingOptions(language=language, word_timestamps=way != TEXT)
        transcriber = self._full if way == FULL else self._short
        with path.open("rb") as file:
            events = [event async for event in transcriber.transcribe(file, options)]
        assert isinstance(events[-1], Transcript)
        return [word for segment in events[-1].segments for word in segment.words or ()]

    def _baseline_words(self, path: Path, language: str | None) -> Iterator[Word]:
        segments, _ = self._baseline.transcribe(
            str(path), language=language, beam_size=5, vad_filter=True, word_timestamps=True
        )
        for segment in segments:
            for word in segment.words or ():
                yield Word(word.word, float(word.start), float(word.end), word.probability)


@asynccontextmanager
async def transcribers(model: Path) -> AsyncIterator[Transcribers]:
    """Load the model in int8 for the service's engine and for faster-whisper."""
    settings = load_settings(model=str(model), devices="cpu", compute_type="int8")
    loaded = load_slot_model(settings, Slot(0, parse_devices("cpu")[0]), lambda: None)
    baseline = faster_whisper.WhisperModel(settings.model, compute_type="int8")
    async with AsyncExitStack() as stack:
        short = await stack.enter_async_context(running_engine(settings, loaded))
        full_settings = settings.model_copy(update={"encoder_context": "full"})
        full = await stack.enter_async_context(running_engine(full_settings, loaded))
        yield Transcribers(short, full, baseline)
