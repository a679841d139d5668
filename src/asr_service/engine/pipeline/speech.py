"""A recording's speech in chunks, read block by block: in memory is a block, not the recording."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import BlockPlan, Chunk, cut_chunk, plan_block
from asr_service.audio.vad import SpeechSpan, VadOptions, detect_speech
from asr_service.decoder.pool import DecodedAudio
from asr_service.engine.decode.context import ChunkLengths
from asr_service.stages import stage

_FIRST_BLOCK_S = 60.0
"""A short first block lets the first segments leave early; each block after it is twice as long."""
_WITHOUT_VAD_LOOKAHEAD = SAMPLE_RATE // 2


class SpeechChunker:
    """One recording's speech, to be read once."""

    def __init__(
        self,
        audio: DecodedAudio,
        vad: VadOptions | None,
        lengths: ChunkLengths,
        block_length_s: float,
        cpu_pool: Executor,
        on_audio: Callable[[float], None],
    ) -> None:
        """`vad` None takes everything for speech. `block_length_s` is of the longest block. `cpu_pool` are the threads
        that look for speech. `on_audio` is told the seconds of each block as it is decoded.
        """
        self._audio = audio
        self._vad = vad
        self._lengths = lengths
        self._block_length_s = block_length_s
        self._cpu_pool = cpu_pool
        self._on_audio = on_audio
        self.speech_s = 0.0
        """In the chunks given so far."""
        self.vad_s = 0.0
        """Wall seconds that looking for speech took so far, the wait for a thread included."""

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """The speech in chunks, in order. Raises RequestError, Unavailable: the recording cannot be decoded."""
        carried = np.empty(0, np.float32)
        start, final, length_s = 0, False, min(_FIRST_BLOCK_S, self._block_length_s)
        while not final:
            wanted = max(int(length_s * SAMPLE_RATE) - len(carried), SAMPLE_RATE)
            fresh = await self._read(wanted)
            final = len(fresh) < wanted
            block = np.concatenate([carried, fresh]) if len(carried) else fresh
            plan = await self._planned(block, is_all=final and start == 0, final=final)
            for spans in plan.chunks:
                chunk = cut_chunk(block, spans, start)
                self.speech_s += chunk.duration_s
                yield chunk
            carried = block[plan.next_start :].copy()
            start += plan.next_start
            length_s = min(2 * length_s, self._block_length_s)

    async def _read(self, n_samples: int) -> NDArray[np.float32]:
        with stage("decode"):
            fresh = await self._audio.read(n_samples)
        self._on_audio(len(fresh) / SAMPLE_RATE)
        return fresh

    async def _planned(self, block: NDArray[np.float32], *, is_all: bool, final: bool) -> BlockPlan:
        began = time.monotonic()
        with stage("vad"):  # the wait for a thread is part of it
            plan = await asyncio.get_running_loop().run_in_executor(self._cpu_pool, self._plan, block, is_all, final)
        self.vad_s += time.monotonic() - began
        return plan

    def _plan(self, block: NDArray[np.float32], is_all: bool, final: bool) -> BlockPlan:
        everything = [SpeechSpan(0, len(block))] if len(block) else []
        spans = everything if self._vad is None else detect_speech(block, self._vad)
        lone = is_all and sum(map(len, spans)) <= self._lengths.lone_s * SAMPLE_RATE
        return plan_block(
            block,
            spans,
            max_chunk=int((self._lengths.lone_s if lone else self._lengths.several_s) * SAMPLE_RATE),
            lookahead=_WITHOUT_VAD_LOOKAHEAD if self._vad is None else self._vad.lookahead,
            final=final,
        )
