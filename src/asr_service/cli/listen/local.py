"""Live speech with a model in this process."""

from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from asr_service.client.live import FailedText, FinalText, LiveText, PartialText, TurnBegan
from asr_service.engine.pipeline.live.events import (
    SessionEnded,
    TextDelta,
    TurnCommitted,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
)
from asr_service.engine.pipeline.live.session import LiveSession


class LocalSession:
    """A session of the engine, in the form of `client.live.LiveClient`."""

    def __init__(self, session: LiveSession) -> None:
        self._session = session

    async def feed(self, samples: NDArray[np.float32]) -> None:
        await self._session.feed(samples)

    async def finish(self) -> None:
        await self._session.finish()

    async def texts(self) -> AsyncIterator[LiveText]:
        """Yield the texts until the session is finished. Raises AsrError: the engine failed."""
        async for event in self._session.events():
            match event:
                case TurnStarted() | TurnCommitted():
                    yield TurnBegan(event.turn_id)
                case TextDelta():
                    yield PartialText(event.turn_id, event.text)
                case TurnCompleted():
                    yield FinalText(event.turn_id, event.transcript.text)
                case TurnFailed():
                    yield FailedText(event.turn_id, event.error.message)
                case SessionEnded(error=error) if error is not None:
                    raise error
