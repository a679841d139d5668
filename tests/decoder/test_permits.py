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


def test_an_expired_permit_is_given_to_the_next():
    """After `max_hold_s` the next reader gets the permit. An expired permit is not released twice."""

    async def use() -> None:
        permits = DecodePermits(1, max_hold_s=0.01)
        async with permits.acquire(), asyncio.timeout(20), permits.acquire():
            pass
        permits = DecodePermits(1, max_hold_s=60)
        async with permits.acquire():
            waiting = asyncio.create_task(permits.acquire().__aenter__())
            await asyncio.sleep(0)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(20), permits.acquire():  # a cancelled wait has not used up a permit
            pass

    asyncio.run(use())
