"""A window of a request that is being decoded while other windows are decoded too."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from asr_service.transcript import Segment


class InflightWindow:
    """Decodes a window in a task of its own, and keeps its segments until they are read. Belongs to one event loop."""

    def __init__(self, decoding: AsyncGenerator[list[Segment]]) -> None:
        """Start the task, which reads `decoding` to its end."""
        self._known: asyncio.Queue[list[Segment] | None] = asyncio.Queue()
        self.task = asyncio.create_task(self._read(decoding))
        self.task.add_done_callback(lambda _: self._known.put_nowait(None))

    async def segments(self) -> AsyncGenerator[list[Segment]]:
        """Yield lists of segments in order, each as soon as it is known. Raises the errors of the decoding."""
        while (known := await self._known.get()) is not None:
            yield known
        await self.task

    async def _read(self, decoding: AsyncGenerator[list[Segment]]) -> None:
        async with aclosing(decoding):
            async for known in decoding:
                self._known.put_nowait(known)
