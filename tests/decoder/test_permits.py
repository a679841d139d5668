"""Permits: their order and their expiry."""

import asyncio

from asr_service.decoder.permits import DecodePermits


def test_permits_are_given_in_order_of_arrival():
    """At most `n_permits` are held at a time, and each is free again when its context ends."""

    async def use() -> tuple[list[int], int]:
        permits, order, n_held, max_held = DecodePermits(2), list[int](), 0, 0

        async def one(i: int) -> None:
            nonlocal n_held, max_held
            async with permits.acquire():
                order.append(i)
                n_held += 1
                max_held = max(max_held, n_held)
                await asyncio.sleep(0)
                n_held -= 1

        await asyncio.gather(*(one(i) for i in range(9)))
        return order, max_held

    assert asyncio.run(use()) == (list(range(9)), 2)


def test_the_reader_that_used_least_comes_first():
    """A short file does not wait behind long ones. A cancelled wait uses up no permit."""

    async def use() -> list[float]:
        permits, order = DecodePermits(1), list[float]()

        async def one(used_s: float) -> None:
            async with permits.acquire(used_s):
                order.append(used_s)

        async with permits.acquire():
            waiting = [asyncio.create_task(one(used_s)) for used_s in (3.0, 2.0, 0.5, 0.0)]
            await asyncio.sleep(0)
            waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(60), permits.acquire():
            return order

    assert asyncio.run(use()) == [0.0, 0.5, 3.0]


def test_a_cancelled_reader_passes_its_permit_on():
    """If a reader is cancelled in the moment in which it gets the permit, the next one gets it."""

    async def use() -> None:
        permits = DecodePermits(1)
        holder = permits.acquire()
        await holder.__aenter__()
        waiting = asyncio.create_task(permits.acquire().__aenter__())
        await asyncio.sleep(0)
        await holder.__aexit__(None, None, None)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(60), permits.acquire():
            pass

    asyncio.run(use())
