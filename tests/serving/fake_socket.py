"""The WebSocket of the fake application: an echo that can take its time."""

import asyncio
from typing import Any


async def echo(receive: Any, send: Any) -> None:
    """Send each text message back; `sleep N` after N seconds, and for `flood` as much as the client takes."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text") or ""
        if text.startswith("sleep "):
            await asyncio.sleep(float(text.split()[1]))
        while text == "flood":
            await send({"type": "websocket.send", "text": "x" * 100_000})
        await send({"type": "websocket.send", "text": text[:100]})


async def refuse(send: Any) -> None:
    """Answer without an upgrade."""
    await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no"})
