"""Who may wait for samples, and when."""

import asyncio

from asr_service.decoder.permits import Turns


def test_turns_come_in_the_order_of_asking():
    """First come first served, `n_places` at a time, and a place is free again when its turn ends."""

    async def use() -> tuple[list[int], int]:
        turns, order, inside, most = Turns(2), list[int](), 0, 0

        async def one(i: int) -> None:
            nonlocal inside, most
            async with turns.turn():
                order.append(i)
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(one(i) for i in range(9)))
        return order, most

    assert asyncio.run(use()) == (list(range(9)), 2)


def test_who_takes_longer_than_a_turn_holds_nobody_up():
    """The next one is let in, and ending late gives no second place back."""

    async def use() -> None:
        turns = Turns(1, turn_s=0.01)
        async with turns.turn(), asyncio.timeout(20), turns.turn():
            pass
        turns = Turns(1, turn_s=60)
        async with turns.turn():
            waiting = asyncio.create_task(turns.turn().__aenter__())
            await asyncio.sleep(0)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(20), turns.turn():  # who gave up waiting has taken no place away
            pass

    asyncio.run(use())
