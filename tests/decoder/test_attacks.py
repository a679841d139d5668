"""Files that take much memory or time to decode. An ordinary file is decoded at the same time."""

import asyncio
import contextlib
import os
import signal
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.memory import anonymous_bytes
from asr_service.decoder.pool import DecodedAudio, DecodeLimits, DecoderPool
from asr_service.errors import Unavailable
from decoder import media
from decoder.decoding import child_pid, decode_in, fork_server_of, upload, with_pool
from waiting import until_async

MIB = 2**20
CLIP = media.wav(media.warble(2))


def with_a_large_index(n_frames: int) -> bytes:
    """Return an MP4 file of 60 s whose video track claims this many frames, each with 24 bytes in FFmpeg's index."""
    data = bytearray(media.encode_video("mp4", media.M4A, media.warble(60)))
    video = data.index(b"vmhd")
    for box, offset, value in (
        (b"stts", 12, n_frames),  # frames of the same duration
        (b"stsc", 16, n_frames),  # frames in a chunk
        (b"stsz", 8, 1),  # bytes of each frame
        (b"stsz", 12, n_frames),
    ):
        at = data.index(box, video) + offset
        struct.pack_into(">I", data, at, value)
    return bytes(data)


def test_the_memory_of_all_decoders_together_is_limited():
    """Eight files need 60 MB each, and the limit is 300 MB. Some are refused, and an ordinary file is decoded."""
    hostile, limits = with_a_large_index(2_500_000), DecodeLimits(3600, 300 * MIB, 300 * MIB)

    async def first_samples(stack: AsyncExitStack, pool: DecoderPool) -> DecodedAudio:
        file = stack.enter_context(upload(hostile))
        audio = await stack.enter_async_context(pool.decode(file))
        with contextlib.suppress(Unavailable):
            await audio.read(100)
        return audio

    async def use(pool: DecoderPool) -> tuple[int, list[str]]:
        async with AsyncExitStack() as stack:
            audios = await asyncio.gather(*(first_samples(stack, pool) for _ in range(8)))
            honest, _ = await decode_in(pool, CLIP)
            alone = anonymous_bytes(fork_server_of(pool).pid)
            used = [anonymous_bytes(child.pid) - alone for child in fork_server_of(pool).children()]
            assert max(used) > 50 * MIB
            assert sum(used) < 300 * MIB
            errors = []
            for audio in audios:
                try:
                    await audio.read(60 * SAMPLE_RATE)
                except Unavailable as error:
                    errors.append(error.message)
            return len(honest), errors

    n_samples, errors = with_pool(use, limits, max_parallel=2)
    assert n_samples == 2 * SAMPLE_RATE
    assert len(errors) >= 3
    assert {"more memory" in error for error in errors} == {True}


@asynccontextmanager
async def attackers(pool: DecoderPool, n: int) -> AsyncIterator[list[DecodedAudio]]:
    """Read `n` recordings of hours of silence at 192 kHz, of which each reader wants the next block at once."""
    async with AsyncExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        file.write(media.wav(media.warble(0), 192_000, declared_bytes=2**31 - MIB))
        file.truncate(2**31 - MIB)  # a sparse file
        audios = [await stack.enter_async_context(pool.decode(file)) for _ in range(n)]

        async def read_on(audio: DecodedAudio) -> None:
            while len(await audio.read(600 * SAMPLE_RATE)):
                pass

        readers = [asyncio.create_task(read_on(audio)) for audio in audios]
        try:
            await until_async(lambda: all(audio._child for audio in audios))
            yield audios
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)


def test_files_that_take_long_do_not_delay_a_clip():
    """Twelve of them share one permit. A clip waits for one turn of them, and not for twelve."""

    async def use(pool: DecoderPool) -> float:
        async with attackers(pool, 12) as audios:
            before_s = sum(audio._ran_s for audio in audios)
            assert len((await decode_in(pool, CLIP))[0]) == 2 * SAMPLE_RATE
            return sum(audio._ran_s for audio in audios) - before_s

    assert with_pool(use, max_parallel=1) < 1.0


def is_stopped(pid: int) -> bool:
    """Return whether the process has stopped, or will stop before it runs again: on a busy machine it gets no time."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    pending = int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)
    return fields["State"].startswith("T") or bool(pending >> (signal.SIGSTOP - 1) & 1)


def test_only_decoders_with_a_permit_run():
    """The others are stopped, so they take no time from the model."""

    async def use(pool: DecoderPool) -> list[int]:
        async with attackers(pool, 6) as audios:
            pids, counts = [child_pid(audio) for audio in audios], []
            for _ in range(20):
                await asyncio.sleep(0.02)
                counts.append(sum(not is_stopped(pid) for pid in pids))
            return counts

    assert max(with_pool(use, max_parallel=1)) == 1


def test_decoders_yield_to_the_model():
    """They run at a lower priority and do not interrupt other threads when data arrives."""

    async def use(pool: DecoderPool) -> tuple[int, int]:
        async with attackers(pool, 1) as (audio,):
            pid = child_pid(audio)
            return os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid)

    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert with_pool(use) == (min(own + 10, 19), os.SCHED_BATCH)
