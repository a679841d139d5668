"""Helpers: a real decoder pool, and files to decode with it."""

import asyncio
import contextlib
import os
import re
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import psutil

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecodedAudio, DecodeLimits, DecoderPool
from asr_service.decoder.protocol import RecordingWarning

LIMITS = DecodeLimits(max_audio_s=3600, stall_timeout_s=20)
BLOCK = 10 * SAMPLE_RATE


def with_pool(
    use: Callable[[DecoderPool], Awaitable[Any]], limits: DecodeLimits = LIMITS, max_parallel: int | None = None
) -> Any:
    async def run() -> Any:
        pool = DecoderPool(limits, max_parallel=max_parallel)
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


def sentences(warnings: Iterable[RecordingWarning]) -> tuple[str, ...]:
    """Return the messages of warnings. Each value of a warning is in its message, unless it is clear: a count of 1."""
    for warning in warnings:
        numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", warning.message)}
        unsaid = {"count", "absent_s"} if warning.values.get("count") == 1 else set()
        for value in (value for name, value in warning.values.items() if name not in unsaid):
            assert value in (warning.message if isinstance(value, str) else numbers), warning
    return tuple(warning.message for warning in warnings)


def has_ended(process: psutil.Process) -> bool:
    """Return whether the process has ended. Its new parent may not have reaped it yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def child_pid(audio: DecodedAudio) -> int:
    assert audio._child is not None
    return audio._child.pid


def stop_for_good(audio: DecodedAudio) -> None:
    """Stop the child, as if it could not run again on its reader's turn."""
    assert audio._child is not None
    setattr(audio._child, "resume", lambda: None)  # noqa: B010 - the service cannot continue it
    os.kill(audio._child.pid, signal.SIGSTOP)


def fork_server_of(pool: DecoderPool) -> psutil.Process:
    assert pool._process is not None
    return psutil.Process(pool._process.pid)


def similarity(samples: Any, pcm: Any) -> float:
    """Return the highest correlation at any shift: 1 for identical audio."""
    n = 2 * max(len(samples), len(pcm))
    product = np.fft.rfft(samples, n) * np.conj(np.fft.rfft(pcm / 32768.0, n))
    energy = np.sqrt(np.sum(samples**2.0) * np.sum((pcm / 32768.0) ** 2.0))
    return float(np.fft.irfft(product).max() / energy)
