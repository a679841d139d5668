"""The pool: children that end, hang or outlive their reader; start and close."""

import asyncio
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.errors import NotReady, StartupError, Unavailable, UndecodableAudio
from decoder import media
from decoder.decoding import (
    BLOCK,
    child_pid,
    decode_in,
    fork_server_of,
    read_all,
    stop_for_good,
    upload,
    with_pool,
)
from processes import children
from waiting import until_async


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGKILL, Unavailable), (signal.SIGUSR1, Unavailable), (signal.SIGSEGV, UndecodableAudio)],
)
def test_a_killed_child_fails_only_its_own_request(number, error):
    """A file that crashes its decoder is undecodable. A file whose decoder was killed from outside may be sent again.

    The next file gets another child.
    """
    long = media.wav(media.warble(60))

    async def use(pool: DecoderPool) -> int:
        with upload(long) as file:
            async with pool.decode(file) as audio:
                await audio.read(BLOCK)
                os.kill(child_pid(audio), number)
                with pytest.raises(error, match=number.name):
                    await read_all(audio)
        return len((await decode_in(pool, long))[0])

    assert with_pool(use) == 60 * SAMPLE_RATE


def test_a_child_that_cannot_run_is_killed_after_the_timeout():
    """It used no processor time for `stall_timeout_s`, so the file is not at fault and may be sent again."""

    async def use(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(60))) as file:
            async with pool.decode(file) as audio:
                await audio.read(100)
                stop_for_good(audio)
                with pytest.raises(Unavailable, match="no progress"):
                    await read_all(audio)
        await until_async(lambda: not psutil.pid_exists(child_pid(audio)))

    with_pool(use, DecodeLimits(max_audio_s=3600, stall_timeout_s=0.5))


def test_a_child_that_somebody_stopped_continues():
    """A SIGSTOP from outside costs at most the rest of the reader's turn."""

    async def use(pool: DecoderPool) -> int:
        with upload(media.wav(media.warble(60))) as file:
            async with pool.decode(file) as audio:
                n_samples = len(await audio.read(100))
                os.kill(child_pid(audio), signal.SIGSTOP)
                return n_samples + len(await read_all(audio))

    assert with_pool(use) == 60 * SAMPLE_RATE


def test_a_slow_reader_does_not_trigger_the_timeout():
    """Only time in which a reader waits counts, and a child without a reader uses no processor time."""

    async def use(pool: DecoderPool) -> tuple[int, float]:
        with upload(media.wav(media.warble(120))) as file:
            async with pool.decode(file) as audio:
                first = await audio.read(100)
                before_s = audio.decode_s
                await asyncio.sleep(1.0)  # twice the timeout, without a waiting reader
                cpu_s = sum(psutil.Process(child_pid(audio)).cpu_times()[:2])
                rest = await audio.read(120 * SAMPLE_RATE)
                assert before_s < 0.9
                return len(first) + len(rest), cpu_s

    n_samples, cpu_s = with_pool(use, DecodeLimits(max_audio_s=3600, stall_timeout_s=0.5))
    assert n_samples == 120 * SAMPLE_RATE
    assert cpu_s < 0.9


@pytest.mark.parametrize("way", ["leaves", "fails", "is cancelled"])
def test_no_child_outlives_its_context(way):
    """Whether the reader leaves, fails or is cancelled, its child is killed and reaped."""
    pids: list[int] = []

    async def reader(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(120))) as file:
            async with pool.decode(file) as audio:
                await audio.read(100)
                pids.append(child_pid(audio))
                if way == "fails":
                    raise ZeroDivisionError
                if way == "is cancelled":
                    stop_for_good(audio)
                    await audio.read(120 * SAMPLE_RATE)

    async def use(pool: DecoderPool) -> None:
        task = asyncio.create_task(reader(pool))
        if way == "is cancelled":
            await until_async(lambda: pids and psutil.Process(pids[0]).status() == psutil.STATUS_STOPPED)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until_async(lambda: not psutil.pid_exists(pids[0]))

    with_pool(use)


def directories() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("asr-decoder-*"))


def test_a_hundred_decodings_leave_nothing_behind():
    """No descriptor, process or directory remains."""
    data = media.wav(media.warble(0.1))
    present = directories()

    async def use(pool: DecoderPool) -> tuple[int, int, psutil.Process]:
        await decode_in(pool, data)
        server = fork_server_of(pool)
        before = psutil.Process().num_fds()
        for _ in range(25):
            await asyncio.gather(*(decode_in(pool, data) for _ in range(4)))
        await until_async(lambda: not server.children() and directories() <= present)
        return before, psutil.Process().num_fds(), server

    before, after, server = with_pool(use)
    assert after <= before
    assert not server.is_running()


def test_more_files_than_permits_are_all_decoded():
    """The files wait for a permit, and each gets its own samples."""

    async def use(pool: DecoderPool) -> list[int]:
        results = await asyncio.gather(*(decode_in(pool, media.wav(media.warble(1 + i))) for i in range(4)))
        return [len(samples) // SAMPLE_RATE for samples, _ in results]

    assert with_pool(use, max_parallel=1) == [1, 2, 3, 4]


def test_a_recording_holds_no_permit_while_its_reader_is_busy():
    """A long transcription keeps its child open; with one permit, others are decoded between its reads."""
    long, short = media.wav(media.warble(120)), media.wav(media.warble(1))

    async def use(pool: DecoderPool) -> int:
        with upload(long) as file:
            async with pool.decode(file) as audio:
                n_samples = len(await audio.read(BLOCK))
                assert len((await decode_in(pool, short))[0]) == SAMPLE_RATE
                return n_samples + len(await read_all(audio))

    assert with_pool(use, max_parallel=1) == 120 * SAMPLE_RATE


@pytest.mark.parametrize("fault", ["no interpreter", "one that exits", "no memory"])
def test_a_fork_server_that_does_not_start_is_a_startup_error(fault, monkeypatch):
    """`start` raises StartupError immediately, and no process remains."""
    programs = {"no interpreter": "/nowhere/python", "one that exits": "/bin/false"}
    monkeypatch.setattr("sys.executable", programs.get(fault, sys.executable))
    memory_bytes = 2**20 if fault == "no memory" else 2**30
    before = set(children(os.getpid()))
    with pytest.raises(StartupError, match="decoder"):
        with_pool(lambda _: asyncio.sleep(0), DecodeLimits(max_audio_s=60, memory_bytes=memory_bytes))
    assert set(children(os.getpid())) <= before


def test_too_many_open_files_make_the_service_unavailable():
    """The error is Unavailable: the client is not at fault and may try again."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def use(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(1))) as file:
            resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno() + 1, limit[1]))
            try:
                with pytest.raises(Unavailable, match="Too many open files"):
                    async with pool.decode(file):
                        pass
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limit)

    with_pool(use)


def test_a_closed_pool_accepts_no_file():
    """`decode` raises NotReady."""

    async def use(pool: DecoderPool) -> None:
        await pool.close()
        with pytest.raises(NotReady):
            await decode_in(pool, media.wav(media.warble(1)))

    with_pool(use)


def test_closing_the_pool_fails_open_reads():
    """A reader that waits for samples gets Unavailable."""

    async def use(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(120))) as file:
            async with pool.decode(file) as audio:
                await audio.read(100)
                stop_for_good(audio)
                reading = asyncio.create_task(audio.read(120 * SAMPLE_RATE))
                await asyncio.sleep(0)
                await pool.close()
                with pytest.raises(Unavailable):
                    await reading

    with_pool(use)
