"""Find out how long the recordings are, for the progress display, while the first ones are already transcribed."""

import asyncio
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from asr_service.cli.transcribe.types import FileTask
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.errors import AsrError

_N_PARALLEL: Final = 2
_LIMITS: Final = DecodeLimits(max_audio_s=365 * 24 * 3600.0)

OnLength = Callable[[FileTask, float | None], None]


async def measure_lengths(tasks: Sequence[FileTask], on_length: OnLength) -> None:
    """Call `on_length` with each recording and the seconds that its header declares or that its size suggests.

    None is an unknown length: of a pipe, or of a file that cannot be read. A decoder process reads the headers. If it
    cannot be started, there are no calls.
    """
    pool = DecoderPool(_LIMITS, max_parallel=_N_PARALLEL)
    try:
        await pool.start()
        queue = iter(tasks)
        async with asyncio.TaskGroup() as group:
            for _ in range(_N_PARALLEL):
                group.create_task(_measure(queue, pool, on_length))
    except AsrError:
        return
    finally:
        await pool.close()


async def _measure(queue: Iterator[FileTask], pool: DecoderPool, on_length: OnLength) -> None:
    for task in queue:
        seconds = None
        with suppress(AsrError, OSError):
            seconds = await _length(task, pool)
        on_length(task, seconds)


async def _length(task: FileTask, pool: DecoderPool) -> float | None:
    if task.source is None or not stat.S_ISREG(task.source.stat().st_mode):
        return None
    with task.source.open("rb") as file:
        async with pool.decode(file) as audio:
            await audio.read(1)
            return audio.estimated_duration_s
