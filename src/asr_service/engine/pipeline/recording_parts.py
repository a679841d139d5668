"""The parts of a recording that are still to be decoded: its chunks, cut where the language changes."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial

from asr_service.audio.chunking import Chunk
from asr_service.engine.decode.code_switching import split_by_language
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.pipeline.recording import Recording
from asr_service.engine.pipeline.window_memory import WindowMemory


class RecordingParts:
    """Reads the parts of one recording, once. Belongs to one event loop."""

    def __init__(self, recording: Recording, windows: WindowDecoder, memory: WindowMemory) -> None:
        """Read nothing yet. `windows` detects languages, within the limit of `memory`."""
        self._recording = recording
        self._windows = windows
        self._memory = memory

    async def read(self) -> AsyncGenerator[tuple[Chunk, str | None]]:
        """Yield the recording's chunks; if the language may change, split where it does, each with its language."""
        request, is_first_window = self._recording.request, True
        async with aclosing(self._new_chunks()) as chunks:
            async for chunk in chunks:
                if not request.options.language_per_chunk:
                    yield chunk, None
                    continue
                detect = partial(self.detect_language, is_first_window=is_first_window)
                is_first_window = False
                for part in await split_by_language(chunk, detect):
                    request.set_language(part.language, part.probability)
                    yield part.chunk, part.language

    async def detect_language(self, chunk: Chunk, *, is_first_window: bool) -> Mapping[str, float]:
        """Return the probabilities of the languages of a chunk by code, most likely first."""
        async with self._memory.window(self._recording.memory):
            return await self._windows.detect_language(self._recording.request, chunk, is_first_window=is_first_window)

    async def _new_chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the chunks that the earlier run did not finish, and forget the segments that it had of them."""
        earlier = self._recording.done
        last_window_s = earlier[-1].window_start if earlier else 0.0
        async with aclosing(self._recording.speech.chunks()) as chunks:
            async for chunk in chunks:
                if earlier and chunk.to_source_time(chunk.duration_s, is_end=True) <= last_window_s:
                    await self._restore_language(chunk, earlier[0].language)
                    continue
                if earlier:
                    start_s = chunk.to_source_time(0)
                    self._recording.done[:] = [segment for segment in earlier if segment.window_start < start_s]
                    earlier = []
                yield chunk

    async def _restore_language(self, chunk: Chunk, language: str) -> None:
        """Set the language that the earlier run detected. The first chunk has its probability."""
        request = self._recording.request
        if not request.language.done():
            probabilities = await self.detect_language(chunk, is_first_window=True)
            request.set_language(language, probabilities.get(language, 0.0))
