"""The real fork server: the restrictions of its children, and its failures."""

import asyncio
import os
import resource
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.errors import Unavailable
from decoder import media
from decoder.decoding import child_pid, decode_in, fork_server_of, has_ended, read_all, upload, with_pool
from processes import children
from waiting import until_async

SECOND = media.wav(media.warble(1))
LONG = media.wav(media.warble(120))
IMPATIENT = DecodeLimits(max_audio_s=3600, fork_timeout_s=0.5)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def soft_limit(pid: int, name: str) -> int:
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(name))
    return int(line.removeprefix(name).split()[0])


def oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def descriptors_of(pid: int) -> set[str]:
    return {path.name for path in Path(f"/proc/{pid}/fd").iterdir()}


def test_a_child_is_restricted_and_has_only_its_file_and_its_channel():
    """Each child has its own limits and no descriptor of another child or of the fork server."""

    async def use(pool: DecoderPool) -> None:
        server = fork_server_of(pool)
        with upload(LONG) as file:
            async with pool.decode(file) as other, pool.decode(file) as audio:
                await other.read(100)
                await audio.read(100)
                pid = child_pid(audio)
                status = status_of(pid)
                assert int(status["PPid"]) == int(status_of(child_pid(other))["PPid"]) == server.pid
                assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")
                try:
                    descriptors = descriptors_of(pid)
                except PermissionError:
                    pytest.skip("only root may list the descriptors of a child")
                assert descriptors == {"0", "1", "2"}
                assert oom_score_adj(pid) == 1000
                assert soft_limit(pid, "Max open files") == 16
                assert soft_limit(pid, "Max address space") == DecodeLimits(max_audio_s=1).memory_bytes
                assert soft_limit(pid, "Max cpu time") <= 2 + DecodeLimits(max_audio_s=3600).cpu_s(len(LONG))

    with_pool(use)


def test_killing_the_fork_server_fails_only_the_files_being_decoded():
    """Each of twenty files gets its samples or Unavailable. The next file is decoded, and no process remains."""

    async def one(pool: DecoderPool, data: bytes) -> int | type[Exception]:
        try:
            return len((await decode_in(pool, data))[0])
        except Unavailable as error:
            return type(error)

    async def use(pool: DecoderPool) -> None:
        await decode_in(pool, SECOND)
        n_descriptors = psutil.Process().num_fds()
        server = fork_server_of(pool)
        tasks = [asyncio.create_task(one(pool, LONG)) for _ in range(20)]
        await until_async(server.children)
        orphans = server.children()
        server.kill()
        answers = Counter(await asyncio.gather(*tasks))
        assert set(answers) <= {120 * SAMPLE_RATE, Unavailable}
        assert answers[120 * SAMPLE_RATE] >= 10, "files that waited for a permit are decoded"
        await until_async(lambda: all(map(has_ended, [server, *orphans])))
        assert len((await decode_in(pool, SECOND))[0]) == SAMPLE_RATE
        assert psutil.Process().num_fds() <= n_descriptors

    with_pool(use)


def test_a_file_starts_over_if_nothing_of_it_was_read():
    """The fork server is killed during the first read. The read takes longer, and no sample is returned twice."""

    async def use(pool: DecoderPool) -> int:
        server = fork_server_of(pool)
        with upload(LONG) as file:
            async with pool.decode(file) as audio:
                reading = asyncio.create_task(audio.read(121 * SAMPLE_RATE))
                await until_async(lambda: len(audio._pcm) > 0)
                server.kill()
                return len(await reading)

    assert with_pool(use) == 120 * SAMPLE_RATE


def test_a_killed_idle_fork_server_is_replaced_before_the_next_file():
    """The replacement starts immediately and is ready for the next file."""

    async def use(pool: DecoderPool) -> int:
        lost = fork_server_of(pool)
        lost.kill()
        await until_async(
            lambda: pool._process is not None and pool._process.pid != lost.pid and pool._process.was_ready
        )
        return len((await decode_in(pool, SECOND))[0])

    assert with_pool(use) == SAMPLE_RATE


def test_a_hung_fork_server_is_replaced():
    """Files that it did not accept go to the next one, and `decode_s` includes the wait."""

    async def use(pool: DecoderPool) -> None:
        hung = fork_server_of(pool)
        hung.suspend()
        results = await asyncio.gather(*(decode_in(pool, SECOND) for _ in range(3)))
        assert [len(samples) for samples, _ in results] == [SAMPLE_RATE] * 3
        assert max(audio.decode_s for _, audio in results) >= IMPATIENT.fork_timeout_s
        await until_async(lambda: not hung.is_running())

    with_pool(use, IMPATIENT)


@pytest.mark.parametrize("late", [False, True], ids=["before-the-answer", "with-the-answer"])
def test_cancelling_during_the_start_leaves_no_child(late):
    """If the fork server answers after the caller was cancelled, the child is killed."""

    async def use(pool: DecoderPool) -> None:
        server, n_descriptors = fork_server_of(pool), psutil.Process().num_fds()
        server.suspend()
        task = asyncio.create_task(decode_in(pool, LONG))
        await until_async(lambda: pool._process is not None and pool._process._requests)
        if late:
            request = pool._process._requests[0] if pool._process else None
            assert request is not None
            request.result.add_done_callback(lambda _: task.cancel())
            server.resume()
        else:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.resume()
        assert task.cancelled()
        assert len((await decode_in(pool, SECOND))[0]) == SAMPLE_RATE
        assert fork_server_of(pool) == server
        await until_async(lambda: not children(server.pid) and psutil.Process().num_fds() <= n_descriptors)

    with_pool(use)


def test_a_child_that_cannot_be_forked_makes_the_service_unavailable():
    """The same fork server starts children again when it can."""

    async def use(pool: DecoderPool) -> int:
        server = fork_server_of(pool)
        most = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4, most[1]))
        with pytest.raises(Unavailable, match="Too many open files"):
            await decode_in(pool, SECOND)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, most)
        n_samples = len((await decode_in(pool, SECOND))[0])
        assert fork_server_of(pool) == server
        return n_samples

    assert with_pool(use) == SAMPLE_RATE


def test_signals_for_the_worker_do_not_end_its_decoders():
    """Terminals and systemd signal every process of the service. Decoding continues until the worker ends it."""

    async def use(pool: DecoderPool) -> Any:
        with upload(LONG) as file:
            async with pool.decode(file) as audio:
                first = await audio.read(100)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    for pid in (fork_server_of(pool).pid, child_pid(audio)):
                        os.kill(pid, number)
                return len(first) + len(await read_all(audio)) + len((await decode_in(pool, SECOND))[0])

    assert with_pool(use) == 121 * SAMPLE_RATE
