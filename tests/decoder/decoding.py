"""A real pool, and recordings through it."""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import psutil

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecodedAudio, DecodeLimits, DecoderPool

LIMITS = DecodeLimits(max_audio_s=3600, stall_s=20)
BLOCK = 10 * SAMPLE_RATE


def with_pool(
    use: Callable[[DecoderPool], Awaitable[Any]], limits: DecodeLimits = LIMITS, at_once: int | None = None
) -> Any:
    async def run() -> Any:
        pool = DecoderPool(limits, at_once=at_once)
        await pool.start()
        try:
            return await use(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


@contextlib.contextmanager
def upload(data: bytes) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        yield file


async def read_all(audio: DecodedAudio) -> Any:
    blocks = [await audio.read(BLOCK)]
    while len(blocks[-1]) == BLOCK:
        blocks.append(await audio.read(BLOCK))
    return np.concatenate(blocks)


async def decode_in(pool: DecoderPool, data: bytes) -> tuple[Any, DecodedAudio]:
    with upload(data) as file:
        async with pool.decode(file) as audio:
            return await read_all(audio), audio


def decode(data: bytes, limits: DecodeLimits = LIMITS) -> tuple[Any, DecodedAudio]:
    samples, audio = with_pool(lambda pool: decode_in(pool, data), limits)
    return samples, audio


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.005)


def has_ended(process: psutil.Process) -> bool:
    """It has, though whoever inherited it may not have collected it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def child_of(audio: DecodedAudio) -> int:
    assert audio._child is not None
    return audio._child.pid


def server_of(pool: DecoderPool) -> psutil.Process:
    assert pool._server is not None
    return psutil.Process(pool._server.pid)
