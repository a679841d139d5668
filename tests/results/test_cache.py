"""Equal work is done once, over every store and over the processes that share it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from asr_service import metrics
from asr_service.errors import InferenceFailed, UndecodableAudio
from asr_service.results import outcomes
from asr_service.results.cache import BULK, CacheOutcome, CachePolicy, ResultCache
from asr_service.results.computations import Computations
from asr_service.results.directory import DirectoryStore
from asr_service.results.guarded import GuardedStore
from asr_service.results.memory import MemoryStore
from asr_service.results.outcomes import IdempotencyScope, RenderedResponse, SharedOutcomes
from asr_service.results.store import Claimed, ClaimOutcome, Lease, ResultStore, StoreFailed
from asr_service.results.times import ResultTimes
from asr_service.transcript import Segment, Timing, Transcript
from asr_service.transcript.events import Events
from results.conftest import MAX_BYTES
from waiting import until, until_async

HIT, MISS, BYPASS = CacheOutcome
TIMES = ResultTimes(lease_s=0.3, min_poll_s=0.005, max_poll_s=0.02, pause_s=0.1)
SEGMENTS = tuple(
    Segment(number, float(number), number + 1.0, f" text {number}", (1, 2), -0.1, 0.0, 1.5, 0.0, "en")
    for number in range(3)
)
TRANSCRIPT = Transcript(
    "text", "transcribe", "en", float("nan"), 3.0, 3.0, "base", SEGMENTS, ("A warning.",), Timing(*[0.1] * 6)
)
KEY = "r-1"


class Work:
    """A transcription that waits before its last segment until it may go on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.n_started = self.n_ended = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> Events:
        self.n_started += 1
        try:
            yield SEGMENTS[0]
            yield SEGMENTS[1]
            await self.may_end.wait()
            if self.error:
                raise self.error
            yield SEGMENTS[2]
            yield TRANSCRIPT
        finally:
            self.n_ended += 1


class Process:
    """A slot that uses a store."""

    def __init__(self, store: ResultStore, times: ResultTimes = TIMES) -> None:
        self.guarded = GuardedStore(store, times, "0")
        self.computations = Computations(self.guarded, times)
        self.cache = ResultCache(self.guarded, self.computations, 60)
        self.outcomes = SharedOutcomes(self.guarded, self.computations, 60)

    async def ask(self, work: Work, **options: Any) -> tuple[CacheOutcome, list[Any]]:
        outcomes: list[CacheOutcome] = []
        events = self.cache.events(KEY, work, on_outcome=outcomes.append, **options)
        async with asyncio.timeout(30), aclosing(events):
            got = [event async for event in events]
        (outcome,) = outcomes
        return outcome, got

    def begin(self, work: Work, **options: Any) -> "asyncio.Task[tuple[CacheOutcome, list[Any]]]":
        return asyncio.create_task(self.ask(work, **options))


@asynccontextmanager
async def processes(
    open_store: Callable[[], ResultStore], n: int = 2, lease_s: float = 60
) -> AsyncIterator[list[Process]]:
    made = [Process(open_store(), replace(TIMES, lease_s=lease_s)) for _ in range(n)]
    yield made
    for each in made:
        await each.guarded.close()


async def test_a_stored_transcript_is_found_by_every_process(open_store):
    """Its segments come first, as from the transcription. Nothing is lost, NaN included."""
    async with processes(open_store) as (one, other):
        work = Work()
        work.may_end.set()
        assert (await one.ask(work))[0] == MISS
        outcome, events = await other.ask(work)
        assert (outcome, work.n_started) == (HIT, 1)
        assert repr(events) == repr([*SEGMENTS, TRANSCRIPT])


async def test_the_size_of_a_store_is_known_from_the_start(open_store):
    """A directory or a Redis has results of earlier processes."""

    def shown() -> float:
        return REGISTRY.get_sample_value("asr_cache_bytes", {"slot": "0"}) or 0

    async with processes(open_store) as (one, other):
        await one.guarded.store(KEY, b"x" * 1000, 60)
        metrics.CACHE_BYTES.labels("0").set(0)
        other.guarded.start()
        await until_async(lambda: shown() >= 1000)


async def test_equal_requests_at_the_same_time_compute_once(open_store):
    """In two processes, ten requests each; also requests of the same process."""
    async with processes(open_store) as (one, other):
        work = Work()
        first = one.begin(work)
        await until_async(lambda: work.n_started)
        others = [process.begin(work) for process in (one, other) for _ in range(10)]
        await asyncio.sleep(0.05)
        work.may_end.set()
        assert (await first)[0] == MISS
        assert {outcome for outcome, _ in await asyncio.gather(*others)} == {HIT}
        assert work.n_started == 1


async def test_a_lease_is_renewed_while_the_work_goes_on(open_store):
    """The work may take longer than the lease."""
    async with processes(open_store, lease_s=TIMES.lease_s) as (one, other):
        work = Work()
        first, second = one.begin(work), None
        await until_async(lambda: work.n_started)
        second = other.begin(work)
        await asyncio.sleep(1.2 * TIMES.lease_s)
        work.may_end.set()
        assert ((await first)[0], (await second)[0], work.n_started) == (MISS, HIT, 1)


@pytest.mark.parametrize("error", [UndecodableAudio("broken"), InferenceFailed("bad"), RuntimeError("defect")])
async def test_a_failure_is_not_shared(open_store, error):
    """One of those that wait computes instead, at once."""
    async with processes(open_store) as (one, other):
        failing, work = Work(error), Work()
        work.may_end.set()
        first = one.begin(failing)
        await until_async(lambda: failing.n_started)
        second = other.begin(work)
        failing.may_end.set()
        with pytest.raises(type(error)):
            await first
        assert (await second)[0] == MISS
        assert failing.n_ended == 1


async def test_another_takes_over_if_the_client_leaves(open_store):
    """The work is closed. A client that waits and leaves is gone at once."""
    async with processes(open_store) as (one, other):
        left, work = Work(), Work()
        work.may_end.set()
        first = one.begin(left)
        await until_async(lambda: left.n_started)
        impatient, second = other.begin(work), other.begin(work)
        await asyncio.sleep(0.02)
        impatient.cancel()
        with suppress(asyncio.CancelledError):
            await impatient
        assert (left.n_ended, work.n_started) == (0, 0)
        first.cancel()
        assert (await second)[0] == MISS
        assert (left.n_ended, work.n_started) == (1, 1)


async def test_a_claim_that_succeeds_after_its_client_left_is_given_back():
    """The lease is free as soon as the claim's thread has ended."""
    store, may_claim, has_claimed = MemoryStore(MAX_BYTES), threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def claim(self, key: str, lease: Lease, lease_s: float) -> ClaimOutcome:
            assert may_claim.wait(60)
            claim = store.claim(key, lease, lease_s)
            has_claimed.set()
            return claim

        def release(self, lease: Lease) -> None:
            store.release(lease)

    slow = Process(Slow(MAX_BYTES), replace(TIMES, lease_s=60, timeout_s=20))
    left = slow.begin(Work())
    await asyncio.sleep(0.05)
    left.cancel()
    await asyncio.wait([left])
    await asyncio.sleep(0.05)
    may_claim.set()
    await until_async(has_claimed.is_set)
    await slow.guarded.close()
    assert isinstance(store.claim(KEY, Lease(KEY, "another"), 60), Claimed)


async def test_another_takes_over_if_a_process_dies(open_store):
    """After the rest of its lease, which nobody renews."""
    async with processes(open_store, lease_s=TIMES.lease_s) as (one, other):
        lost, work = Work(), Work()
        work.may_end.set()
        first = one.begin(lost)
        await until_async(lambda: lost.n_started)
        one.guarded._paused_until = float("inf")  # as if it reached the store no more
        assert (await asyncio.wait_for(other.ask(work), 30))[0] == MISS
        lost.may_end.set()
        assert (await first)[0] == MISS


async def test_a_request_does_not_wait_for_a_job(open_store):
    """Jobs wait for jobs."""
    async with processes(open_store) as (one, other):
        job, request = Work(), Work()
        request.may_end.set()
        first = one.begin(job, lane=BULK)
        await until_async(lambda: job.n_started)
        second = other.begin(job, lane=BULK)
        assert (await other.ask(request))[0] == MISS
        assert ((await second)[0], job.n_started) == (HIT, 1)
        job.may_end.set()
        assert (await first)[0] == MISS


async def test_a_request_that_may_not_wait_longer_computes(open_store):
    async with processes(open_store) as (one, other):
        slow, work = Work(), Work()
        work.may_end.set()
        first = one.begin(slow)
        await until_async(lambda: slow.n_started)
        assert (await other.ask(work, wait_s=0.02))[0] == MISS
        slow.may_end.set()
        await first


async def test_a_request_chooses_what_is_read_and_stored(open_store):
    """`no-cache` stores a new answer, `no-store` reads and stores none."""
    async with processes(open_store, 1) as (one,):
        work = Work()
        work.may_end.set()
        assert (await one.ask(work, policy=CachePolicy(stores=False)))[0] == MISS
        assert (await one.ask(work, policy=CachePolicy(reads=False, stores=False)))[0] == BYPASS
        assert (await one.ask(work, policy=CachePolicy(reads=False)))[0] == BYPASS
        assert (await one.ask(work, policy=CachePolicy(stores=False)))[0] == HIT
        assert work.n_started == 3


async def test_a_damaged_value_is_a_miss_and_is_replaced(open_store):
    """It counts as an error."""
    unreadable = metrics.CACHE_ERRORS.labels("unreadable")
    had = unreadable._value.get()
    async with processes(open_store, 1) as (one,):
        work = Work()
        work.may_end.set()
        await one.guarded.store(KEY, b"damaged", 60)
        assert (await one.ask(work, policy=CachePolicy(stores=False)))[0] == MISS
        assert await one.guarded.load(KEY) is None
        await one.guarded.store(KEY, b"damaged", 60)
        assert [(await one.ask(work))[0] for _ in range(2)] == [MISS, HIT]
    assert unreadable._value.get() == had + 2


class Hanging:
    """A store that answers no call until it may."""

    def __init__(self, error: Exception | None = None) -> None:
        self.n_calls = 0
        self.may_answer = threading.Event()
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def call(*_: object) -> None:
            self.n_calls += 1
            if self._error:
                raise self._error
            self.may_answer.wait(60)

        return call if name != "close" else lambda: None


@pytest.mark.parametrize("error", [None, StoreFailed("down")])
async def test_a_store_that_hangs_or_fails_is_a_miss(error):
    """Within the time limit, and it is not called again for a while."""
    store = Hanging(error)
    process = Process(store, replace(TIMES, timeout_s=0.05, pause_s=60))
    work = Work()
    work.may_end.set()
    failures = metrics.CACHE_ERRORS.labels("unavailable")
    had = failures._value.get()
    async with asyncio.timeout(30):
        assert [(await process.ask(work))[0] for _ in range(3)] == [MISS] * 3
    assert (work.n_started, store.n_calls, failures._value.get() - had) == (3, 1, 1)
    store.may_answer.set()
    await process.guarded.close()


async def test_a_directory_that_is_too_large_is_swept_while_requests_use_it(tmp_path):
    """No request waits for the sweep, which takes longer than a call may take."""
    may_end = threading.Event()

    class Slow(DirectoryStore):
        def sweep(self) -> None:
            may_end.wait(60)
            super().sweep()

    guarded = GuardedStore(Slow(tmp_path, 10_000), replace(TIMES, timeout_s=5), "0")
    guarded.start()
    for number in range(20):
        await guarded.store(f"r-{number}", bytes(1000), 60)
        assert await guarded.load(f"r-{number}") == bytes(1000)
    may_end.set()
    await asyncio.to_thread(until, lambda: len(list((tmp_path / "values").iterdir())) < 10)
    await guarded.close()


# -- Answers by Idempotency-Key

SCOPE = IdempotencyScope("alice", "/transcribe", "k")
RESPONSE = RenderedResponse(b"t\xc3\xa9xt\n\n", "text/plain", ("A warning.",))


class Answer:
    def __init__(self, outcome: RenderedResponse | Exception = RESPONSE) -> None:
        self.outcome = outcome
        self.n_started = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> RenderedResponse:
        self.n_started += 1
        await self.may_end.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def test_a_retry_in_another_process_gets_the_same_answer(open_store):
    """While the work runs, and after it. Another scope is other work; another body is a conflict in both cases."""
    async with processes(open_store) as (one, other):
        work = Answer()

        def asks(digest: bytes, process: Process = other, scope: IdempotencyScope = SCOPE) -> Any:
            return asyncio.create_task(process.outcomes.get_or_run(scope, digest, work))

        first = asks(b"d", one)
        await until_async(lambda: work.n_started)
        again = asks(b"d")
        with pytest.raises(Exception, match="was used with another recording"):
            await asks(b"other")
        work.may_end.set()
        assert (await first, await again) == (RESPONSE, replace(RESPONSE, is_replayed=True))
        assert await asks(b"d") == replace(RESPONSE, is_replayed=True)
        with pytest.raises(Exception, match="was used with another recording"):
            await asks(b"other")
        assert work.n_started == 1
        assert await asks(b"other", scope=replace(SCOPE, value="l")) == RESPONSE


async def test_a_damaged_lease_is_waited_for_and_lapses(open_store):
    """What its holder does is not known, so it is no conflict."""
    store = open_store()
    store.claim("other", Lease(outcomes._key(SCOPE), "token", "no digest"), 0.1)
    async with processes(open_store, 1) as (one,):
        work = Answer()
        work.may_end.set()
        assert await one.outcomes.get_or_run(SCOPE, b"d", work) == RESPONSE


@pytest.mark.parametrize(
    ("error", "is_kept"), [(UndecodableAudio("broken", param="file"), True), (InferenceFailed("bad"), False)]
)
async def test_a_final_refusal_is_repeated(open_store, error, is_kept):
    """With its code, message and field. After any other failure, the work is done again."""
    async with processes(open_store) as (one, other):
        work = Answer(error)
        work.may_end.set()
        for process in (one, other):
            with pytest.raises(type(error), match=error.message) as raised:
                await process.outcomes.get_or_run(SCOPE, b"d", work)
            assert raised.value.param == error.param
        assert work.n_started == (1 if is_kept else 2)
