"""Plays a sound to a live session in real time, and notes when each event came."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.engine.pipeline.live.events import LiveEvent
from asr_service.engine.pipeline.live.session import LiveSession

PIECE_S: Final = 0.05
"""LiveKit sends pieces of this length."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An event, and when it came: seconds after the first sample was spoken."""

    event: LiveEvent
    at_s: float


async def play(session: LiveSession, samples: NDArray[np.float32]) -> list[Heard]:
    """Play the sound, finish the session, and return its events. Each piece is sent when it has been spoken."""
    began = time.monotonic()
    feeding = asyncio.create_task(_feed(session, samples, began))
    heard = []
    async with aclosing(session.events()) as events:
        async for event in events:
            heard.append(Heard(event, time.monotonic() - began))  # noqa: PERF401 - the time is that of the event
    await feeding
    return heard


def sent_at_s(second: float) -> float:
    """Return when the piece that holds a second of the sound was sent."""
    return (int(second / PIECE_S) + 1) * PIECE_S


async def _feed(session: LiveSession, samples: NDArray[np.float32], began: float) -> None:
    piece = int(PIECE_S * SAMPLE_RATE)
    for number, start in enumerate(range(0, len(samples), piece), start=1):
        await asyncio.sleep(max(began + number * PIECE_S - time.monotonic(), 0))
        await session.feed(samples[start : start + piece])
    await session.finish()
