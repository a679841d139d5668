"""Decodes the windows of one recording, several at a time, and puts their segments in order."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from asr_service import tasks
from asr_service.audio.chunking import Chunk
from asr_service.engine.decode.text_before import PreviousText, TextBefore
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.pipeline.inflight import InflightWindow
from asr_service.engine.pipeline.recording import Recording
from asr_service.engine.pipeline.recording_parts import RecordingParts
from asr_service.engine.pipeline.window_memory import WindowMemory
from asr_service.transcript import Segment


class OrderedWindows:
    """Decodes the windows of one recording, once. Belongs to one event loop."""

    def __init__(
        self, recording: Recording, windows: WindowDecoder, memory: WindowMemory, max_inflight_windows: int
    ) -> None:
        """Start nothing yet. `max_inflight_windows` includes windows that are decoded and not yet read."""
        self._recording = recording
        self._windows = windows
        self._memory = memory
        self._places = asyncio.Semaphore(max_inflight_windows)
        self._started: asyncio.Queue[InflightWindow | None] = asyncio.Queue()

    async def segments(self) -> AsyncGenerator[Segment]:
        """Yield the segments in order, while later windows are already being decoded."""
        starter = asyncio.create_task(self._start_windows())
        windows: list[InflightWindow] = []
        try:
            while (window := await self._started.get()) is not None:
                windows.append(window)
                async with aclosing(window.segments()) as known:
                    async for segments in known:
                        for segment in self._recording.script.convert(segments):
                            yield segment
                windows.clear()
                self._places.release()
            await starter
        finally:
            while not self._started.empty():
                windows += [window for window in [self._started.get_nowait()] if window is not None]
            await tasks.cancel([starter, *(window.task for window in windows)])

    async def _start_windows(self) -> None:
        """Start decoding one window after the other, as far as there are places. None ends the queue."""
        is_first_window = True
        previous: PreviousText | None = None
        try:
            async with aclosing(RecordingParts(self._recording, self._windows, self._memory).read()) as parts:
                async for chunk, language in parts:
                    await self._places.acquire()
                    if is_first_window and self._recording.request.options.condition_on_previous_text:
                        previous = PreviousText(self._recording.done)
                    window = await self._start_window(chunk, language, previous, is_first_window=is_first_window)
                    self._started.put_nowait(window)
                    is_first_window = False
        finally:
            self._started.put_nowait(None)

    async def _start_window(
        self, chunk: Chunk, language: str | None, previous: PreviousText | None, *, is_first_window: bool
    ) -> InflightWindow:
        """Begin to decode a window when there is memory for it. The memory is free again when the window is decoded."""
        share = self._recording.memory
        await self._memory.take(share)
        try:
            # Windows are prepared one by one, so that the first window is also the first in the model's queue.
            task = await self._windows.prepare(
                self._recording.request,
                chunk,
                language=language,
                is_first_window=is_first_window,
                text_before=previous.before_next if previous else TextBefore(),
            )
        except BaseException:
            self._memory.give_back(share)
            raise
        decoding = self._windows.decode(task)
        window = InflightWindow(previous.follow(decoding) if previous else decoding)
        window.task.add_done_callback(lambda _: self._memory.give_back(share))
        return window
