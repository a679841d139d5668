"""Reads a recording block by block and cuts its speech into chunks.

One block is in memory at a time. While the next block is put together, it takes twice its memory.
"""

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.chunking import BlockPlan, Chunk, cut_chunk, plan_block
from asr_service.audio.level import Leveller
from asr_service.audio.peaks import PeakMeter
from asr_service.audio.vad import SpeechSpan, VadOptions, detect_speech
from asr_service.decoder.pool import DecodedAudio, Gap
from asr_service.engine.decode.context import ChunkLengths
from asr_service.stages import stage

_MAX_SINGLE_S: Final = 60.0
"""In a recording that is shorter than this, one window may hold more speech."""
_FIRST_BLOCK_S: Final = 120.0
"""The first block is short, so that the first segments are known early. Each block after it is twice as long as the one
before, up to the limit."""
_WITHOUT_VAD_LOOKAHEAD: Final = SAMPLE_RATE // 2


class SpeechChunker:
    """Reads the speech of one recording, once."""

    def __init__(
        self,
        audio: DecodedAudio,
        vad: VadOptions | None,
        lengths: ChunkLengths,
        max_block_s: float,
        cpu_pool: Executor,
        on_audio: Callable[[float], None],
        peaks: PeakMeter | None = None,
    ) -> None:
        """Create a chunker for a recording that is being decoded.

        Without `vad`, all audio counts as speech. `cpu_pool` runs voice activity detection. `on_audio` is called with
        the seconds of each block as it is decoded. `peaks` measures the waveform.
        """
        self._audio = audio
        self._vad = vad
        self._lengths = lengths
        self._max_block_s = max_block_s
        self._cpu_pool = cpu_pool
        self._on_audio = on_audio
        self._peaks = peaks
        self._leveller = Leveller()
        self.speech_s = 0.0
        """Seconds of speech in the chunks so far."""
        self.vad_s = 0.0
        """Seconds that voice activity detection took so far, with the waits for a thread."""

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the chunks in order. Raises RequestError, Unavailable: the recording cannot be decoded."""
        carried = np.empty(0, np.float32)
        start, final, length_s = 0, False, min(_FIRST_BLOCK_S, self._max_block_s)
        while not final:
            n_samples = max(int(length_s * SAMPLE_RATE) - len(carried), SAMPLE_RATE)
            samples = await self._read(n_samples)
            final = len(samples) < n_samples
            block = np.concatenate([carried, samples]) if len(carried) else samples
            del samples
            plan, is_single = await self._plan(block, start, final=final)
            for spans in plan.chunks:
                chunk = cut_chunk(block, spans, start, is_part=not is_single)
                self.speech_s += chunk.duration_s
                yield replace(chunk, spans=tuple(self._placed(chunk.spans)))
            carried = block[plan.next_start :].copy()
            del block
            start += plan.next_start
            length_s = min(2 * length_s, self._max_block_s)

    async def _read(self, n_samples: int) -> NDArray[np.float32]:
        with stage("decode"):
            samples = await self._audio.read(n_samples)
        self._on_audio(len(samples) / SAMPLE_RATE)
        if self._peaks is not None:
            start = self._audio.n_samples - len(samples)
            await asyncio.get_running_loop().run_in_executor(
                self._cpu_pool, self._measure_in_thread, self._peaks, samples, start
            )
        return samples

    def _measure_in_thread(self, peaks: PeakMeter, samples: NDArray[np.float32], start: int) -> None:
        for piece in self._pieces(start, start + len(samples)):
            peaks.add(samples[piece.start : piece.end], self._place(piece.shifted(start)).start)

    def _placed(self, spans: tuple[SpeechSpan, ...]) -> Iterator[SpeechSpan]:
        """Yield the places in the recording of spans of samples. A span is divided where the recording has a gap."""
        for span in spans:
            for piece in self._pieces(span.start, span.end):
                yield self._place(piece.shifted(span.start))

    def _place(self, span: SpeechSpan) -> SpeechSpan:
        """Return the place in the recording of a span of samples, between which there is no gap."""
        return span.shifted(self._audio.n_absent_before(span.start))

    def _pieces(self, start: int, end: int) -> list[SpeechSpan]:
        """Return samples of the recording in pieces without a gap, relative to `start`."""
        gaps = self._audio.gaps
        inside = gaps[bisect_right(gaps, start, key=_at) : bisect_left(gaps, end, key=_at)]
        edges = [0, *(gap.at - start for gap in inside), end - start]
        return [SpeechSpan(first, last) for first, last in pairwise(edges) if first < last]

    async def _plan(self, block: NDArray[np.float32], start: int, *, final: bool) -> tuple[BlockPlan, bool]:
        """Find the speech of a block and plan its chunks. Return the plan and whether the recording is one window."""
        started_at = time.monotonic()
        loop = asyncio.get_running_loop()
        pieces = self._pieces(start, start + len(block))
        is_whole = final and start == 0
        with stage("vad"):  # includes the wait for a thread
            planned = await loop.run_in_executor(self._cpu_pool, self._plan_in_thread, block, pieces, is_whole, final)
        self.vad_s += time.monotonic() - started_at
        return planned

    def _plan_in_thread(
        self, block: NDArray[np.float32], pieces: list[SpeechSpan], is_whole: bool, final: bool
    ) -> tuple[BlockPlan, bool]:
        levelled = self._leveller(block)
        spans = pieces if self._vad is None else _detect_in(levelled, pieces, self._vad)
        is_single = is_whole and sum(map(len, spans)) <= self._max_single_window(len(block))
        plan = plan_block(
            levelled,
            spans,
            max_chunk=int((self._lengths.single_window_s if is_single else self._lengths.section_s) * SAMPLE_RATE),
            lookahead=_WITHOUT_VAD_LOOKAHEAD if self._vad is None else self._vad.lookahead,
            final=final,
        )
        return plan, is_single

    def _max_single_window(self, n_samples: int) -> float:
        """Return the most samples of speech in a recording of `n_samples` that is decoded as one window."""
        is_short = n_samples < _MAX_SINGLE_S * SAMPLE_RATE
        return (self._lengths.single_window_s if is_short else self._lengths.multi_window_s) * SAMPLE_RATE


def _detect_in(block: NDArray[np.float32], pieces: list[SpeechSpan], vad: VadOptions) -> list[SpeechSpan]:
    return [
        span.shifted(piece.start) for piece in pieces for span in detect_speech(block[piece.start : piece.end], vad)
    ]


def _at(gap: Gap) -> int:
    return gap.at
