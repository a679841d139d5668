"""How long the recordings are that `asr-service transcribe` is at: what its bars are drawn to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from asr_service import tasks
from asr_service.cli.transcribe.types import Job
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.errors import AsrError

_LONGEST_S: Final = 1e7

Measured = Callable[[Job, float | None], None]


@asynccontextmanager
async def measuring(jobs: Iterable[Job], measured: Measured) -> AsyncIterator[None]:
    """Find out beside the work how long the recordings are. Their first bytes are decoded for it, in a sandbox."""
    task = asyncio.create_task(_measure(list(jobs), measured))
    try:
        yield
    finally:
        await tasks.cancel([task])


async def _measure(jobs: list[Job], measured: Measured) -> None:
    pool = DecoderPool(DecodeLimits(max_audio_s=_LONGEST_S), at_once=1)
    await pool.start()
    try:
        for job in jobs:
            measured(job, await _length_s(pool, job.source))
    finally:
        await pool.close()


async def _length_s(pool: DecoderPool, source: Path | None) -> float | None:
    """Seconds by the header or a guess, of a file; a pipe must not be touched. None: no telling."""
    try:
        if source is None or not source.is_file():  # noqa: ASYNC240 - as quick as opening it
            return None
        with source.open("rb") as file:
            async with pool.decode(file) as audio:
                await audio.read(1)
                return audio.estimated_duration_s
    except (AsrError, OSError):  # whoever transcribes it will say what is wrong with it
        return None
