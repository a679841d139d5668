"""The latency of ordinary clips, alone and beside live sessions."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.transcript.events import final_transcript

EVERY_S: Final = 2.5


@dataclass
class Clips:
    """The latencies of the clips, in seconds."""

    alone_s: list[float] = field(default_factory=list)
    beside_s: list[float] = field(default_factory=list)
    n_sessions: list[int] = field(default_factory=list)
    """Sessions that were open beside the clips of each round: fewer than asked for if some were refused."""

    @property
    def ratio(self) -> float:
        """The 95th percentile beside sessions, divided by that alone."""
        return quantile(self.beside_s, 0.95) / quantile(self.alone_s, 0.95)


async def send_clips(transcriber: Transcriber, paths: Sequence[Path], language: str) -> list[float]:
    """Transcribe the clips, one begun every `EVERY_S`, and return their latencies in seconds."""

    async def send(path: Path) -> float:
        began = time.monotonic()
        with path.open("rb") as file:
            await final_transcript(transcriber.transcribe(file, DecodingOptions(language=language)))
        return time.monotonic() - began

    async with asyncio.TaskGroup() as group:
        sent = []
        for path in paths:
            sent.append(group.create_task(send(path)))
            await asyncio.sleep(EVERY_S)
    return [task.result() for task in sent]


def quantile(values: Sequence[float], q: float) -> float:
    return float(np.quantile(np.array(values or [np.nan]), q))
