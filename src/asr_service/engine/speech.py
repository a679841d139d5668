"""A recording's speech in chunks, read block by block: in memory is a block, not the recording."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_service.audio.chunking import BlockPlan, Chunk, cut_chunk, plan_block
from asr_service.audio.ingest import DecodedAudio
from asr_service.audio.vad import SAMPLE_RATE, SpeechSpan, VadOptions, detect_speech
from asr_service.stages import stage

_FIRST_BLOCK_S = 60.0
"""A short first block lets the first segments leave early; each block after it is twice as long."""
_WITHOUT_VAD_SETTLED = SAMPLE_RATE // 2


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """The longest block, and the longest chunk in it."""

    block_length_s: float
    chunk_length_s: float


class RecordedSpeech:
    """One recording's speech, to be read once."""

    def __init__(
        self,
        audio: DecodedAudio,
        vad: VadOptions | None,
        limits: BlockLimits,
        helpers: Executor,
        on_audio: Callable[[float], None],
    ) -> None:
        """`vad` None takes everything for speech. `helpers` are the threads that look for it. `on_audio` is told the
        seconds of each block as it is decoded.
        """
        self._audio = audio
        self._vad = vad
        self._limits = limits
        self._helpers = helpers
        self._on_audio = on_audio
        self.speech_s = 0.0
        """In the chunks given so far."""
        self.vad_s = 0.0
        """Wall seconds that looking for speech took so far, the wait for a thread included."""

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """The speech in chunks, in order. Raises RequestError, Unavailable: the recording cannot be decoded."""
        carried = np.empty(0, np.float32)
        start, final, length_s = 0, False, min(_FIRST_BLOCK_S, self._limits.block_length_s)
        while not final:
            wanted = max(int(length_s * SAMPLE_RATE) - len(carried), SAMPLE_RATE)
            fresh = await self._read(wanted)
            final = len(fresh) < wanted
            block = np.concatenate([carried, fresh]) if len(carried) else fresh
            plan = await self._planned(block, final=final)
            for spans in plan.chunks:
                chunk = cut_chunk(block, spans, start)
                self.speech_s += chunk.duration_s
                yield chunk
            carried = block[plan.cut :].copy()
            start += plan.cut
            length_s = min(2 * length_s, self._limits.block_length_s)

    async def _read(self, n_samples: int) -> NDArray[np.float32]:
        with stage("decode"):
            fresh = await self._audio.read(n_samples)
        self._on_audio(len(fresh) / SAMPLE_RATE)
        return fresh

    async def _planned(self, block: NDArray[np.float32], *, final: bool) -> BlockPlan:
        began = time.monotonic()
        with stage("vad"):  # the wait for a thread is part of it
            plan = await asyncio.get_running_loop().run_in_executor(self._helpers, self._plan, block, final)
        self.vad_s += time.monotonic() - began
        return plan

    def _plan(self, block: NDArray[np.float32], final: bool) -> BlockPlan:
        everything = [SpeechSpan(0, len(block))] if len(block) else []
        return plan_block(
            block,
            everything if self._vad is None else detect_speech(block, self._vad),
            max_chunk=int(self._limits.chunk_length_s * SAMPLE_RATE),
            settled_after=_WITHOUT_VAD_SETTLED if self._vad is None else self._vad.settled_after,
            final=final,
        )
