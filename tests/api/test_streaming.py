"""An answer in lines lets go of what its request holds, however it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

from asr_service.api.streaming import StreamedResponse

SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


class Answer:
    """A response of two lines, and what became of what it held."""

    def __init__(self) -> None:
        self.let_go = False
        self.lines_closed = False
        held = AsyncExitStack()
        held.callback(lambda: setattr(self, "let_go", True))
        self.response = StreamedResponse(self._lines(), held=held, media_type="application/x-ndjson", patience_s=0.05)

    async def _lines(self) -> AsyncGenerator[str]:
        try:
            yield "first\n"
            yield "second\n"
        finally:
            self.lines_closed = True


async def _never(*_: object) -> Any:
    await asyncio.Event().wait()


async def _disconnect() -> Any:
    return {"type": "http.disconnect"}


def test_a_client_that_stops_reading_is_given_up():
    """Its place is free again after the patience, though it has not left."""
    answer = Answer()
    sent = []

    async def send(message) -> None:
        sent.append(message)
        if message.get("body") == b"first\n":
            await _never()

    asyncio.run(answer.response(SCOPE, _never, send))
    assert len(sent) == 2
    assert (answer.let_go, answer.lines_closed) == (True, True)


def test_a_client_that_left_before_the_first_line_holds_nothing():
    """Lines that were never begun hold no more than those that were."""
    answer = Answer()
    asyncio.run(answer.response(SCOPE, _disconnect, _never))
    assert answer.let_go
