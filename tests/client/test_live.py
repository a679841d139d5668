"""The client of live speech, with a service that answers in an unusual order."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np
import websockets.asyncio.server

from asr_service.client.live import FinalText, LiveText, TurnBegan, connect_live

_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"


async def test_a_turn_that_ended_just_before_the_last_one_does_not_stand_for_it():
    """The service commits a turn in a pause, and reads the client's own commit a moment later."""

    async def answer(peer: websockets.asyncio.server.ServerConnection) -> None:
        async for message in peer:
            kind = json.loads(message)["type"]
            if kind == "input_audio_buffer.commit":
                for turn_id, text in (("first", "one"), ("last", "two")):
                    await peer.send(json.dumps({"type": "input_audio_buffer.committed", "item_id": turn_id}))
                    completed = {"type": f"{_TRANSCRIPTION}.completed", "item_id": turn_id, "transcript": text}
                    await peer.send(json.dumps(completed))
            if kind == "input_audio_buffer.clear":
                await peer.send(json.dumps({"type": "input_audio_buffer.cleared"}))

    assert await _texts_from(answer) == [
        TurnBegan("first"),
        FinalText("first", "one"),
        TurnBegan("last"),
        FinalText("last", "two"),
    ]


async def test_a_turn_that_is_cleared_is_not_waited_for():
    """Less than 100 ms of it are known, so it cannot be committed, and it gets no final text."""

    async def answer(peer: websockets.asyncio.server.ServerConnection) -> None:
        async for message in peer:
            kind = json.loads(message)["type"]
            if kind == "input_audio_buffer.append":
                await peer.send(json.dumps({"type": "input_audio_buffer.speech_started", "item_id": "short"}))
            if kind == "input_audio_buffer.commit":
                error = {"code": "input_audio_buffer_commit_empty", "message": "Less than 100 ms."}
                await peer.send(json.dumps({"type": "error", "error": error}))
            if kind == "input_audio_buffer.clear":
                await peer.send(json.dumps({"type": "input_audio_buffer.cleared"}))

    assert await _texts_from(answer) == [TurnBegan("short")]


async def _texts_from(
    answer: Callable[[websockets.asyncio.server.ServerConnection], Awaitable[None]],
) -> list[LiveText]:
    """Return the texts of a session with a tenth of a second of sound."""
    async with websockets.asyncio.server.serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect_live(f"http://127.0.0.1:{port}", None) as client:
            await client.feed(np.zeros(1600, np.float32))
            await client.finish()
            async with asyncio.timeout(10):
                return [text async for text in client.texts()]
