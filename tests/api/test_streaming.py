"""A streamed response closes the resources of its request, however it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

from asr_service.api.streaming import StreamedResponse

SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


class TwoLines:
    """A response of two lines that records whether its resources were closed."""

    def __init__(self) -> None:
        self.resources_closed = False
        self.lines_closed = False
        resources = AsyncExitStack()
        resources.callback(lambda: setattr(self, "resources_closed", True))
        self.response = StreamedResponse(
            self._lines(), resources=resources, media_type="application/x-ndjson", send_timeout_s=0.05
        )

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


def test_a_client_that_stops_reading_is_disconnected():
    """After the send timeout the resources are closed, although the client has not disconnected."""
    two_lines = TwoLines()
    sent = []

    async def send(message) -> None:
        sent.append(message)
        if message.get("body") == b"first\n":
            await _never()

    asyncio.run(two_lines.response(SCOPE, _never, send))
    assert len(sent) == 2
    assert (two_lines.resources_closed, two_lines.lines_closed) == (True, True)


def test_a_client_that_disconnects_before_the_first_line_holds_no_resources():
    """The resources are closed although the generator of lines never started."""
    two_lines = TwoLines()
    asyncio.run(two_lines.response(SCOPE, _disconnect, _never))
    assert two_lines.resources_closed
