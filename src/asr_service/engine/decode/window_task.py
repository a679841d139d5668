"""One window to decode, with its place in the recording and in its request."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from asr_service.audio.chunking import Chunk
from asr_service.audio.features import Features
from asr_service.engine.decode.continuation import Budget
from asr_service.engine.decode.text_before import TextBefore
from asr_service.engine.model.calls import Call
from asr_service.engine.schedule.request import RequestHandle

NO_TEXT: Final = TextBefore()
WHOLE_BUDGET: Final = Budget()


@dataclass(frozen=True, slots=True)
class WindowTask:
    """A window to decode, as `WindowDecoder.prepare` makes it."""

    request: RequestHandle
    chunk: Chunk
    context_frames: int
    """How many frames the encoder gets at first."""
    features: Features
    """Features of the chunk, padded to `context_frames`."""
    language: str | None = None
    """Language of the window. None takes the language of the request, which the first window detects if need be."""
    is_first_window: bool = False
    """True if the request's first segments wait for this window."""
    after: Chunk | None = None
    """The speech of the section after this window. It is decoded next."""
    text_before: TextBefore | asyncio.Future[TextBefore] = NO_TEXT
    """The text before this window, for the prompt."""
    budget: Budget = WHOLE_BUDGET

    async def submit(self, call: Call) -> Any:
        """Run a model call for this window. Returns its Encoded, Generation or Alignment.

        Raises EngineStopped, DeadlineExceeded, InferenceFailed, Overloaded.
        """
        return await self.request.submit(call, audio_s=self.chunk.duration_s, is_first_window=self.is_first_window)

    async def known_text_before(self) -> TextBefore:
        """Wait until the text before this window is known, and return it."""
        return self.text_before if isinstance(self.text_before, TextBefore) else await asyncio.shield(self.text_before)
