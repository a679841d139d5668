"""An application whose load time, latency, crashes and hangs are set by tests.

Faults are files in $FAKE_DIR, so that a test can change them while the service runs: `load_s` and `load_s.1` (only for
slot 1), likewise `fail` and `boom`. FakeSpeech handles uploads.
"""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from asr_service.hardware.devices import Slot
from asr_service.serving import Die
from asr_service.settings import Settings
from serving.fake_socket import echo, refuse
from serving.fake_speech import FakeSpeech


class FakeApp:
    def __init__(self, _settings: Settings, slot: Slot, die: Die) -> None:
        self.slot = slot
        self.die = die
        self.ready = False
        self.draining = False
        self.n_open = 0
        if boom := self._fault("boom"):
            raise RuntimeError(boom)

    @property
    def busy(self) -> bool:
        return self.n_open > 0

    def begin_drain(self) -> None:
        self.draining = True
        self.ready = False
        self._show()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            is_refused = scope["path"] == "/refused" or not scope["path"].startswith("/")
            await (refuse(send) if is_refused else echo(receive, send))
        elif scope["path"] in ("/speech", "/stream"):
            await FakeSpeech(self, Path(os.environ["FAKE_DIR"])).answer(scope, receive, send)
        else:
            status, answer = await self._answer(scope["path"], dict(parse_qsl(scope["query_string"].decode())))
            await send(
                {"type": "http.response.start", "status": status, "headers": [(b"x-slot", b"%d" % self.slot.index)]}
            )
            await send({"type": "http.response.body", "body": answer})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        loading = asyncio.create_task(self._load())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        loading.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _load(self) -> None:
        await asyncio.sleep(float(self._fault("load_s") or 0))
        if failure := self._fault("fail"):
            self.die(int(failure.split(":")[0]), failure.split(":")[1])
        self.ready = True
        self._show()

    async def _answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if path in {"/about", "/health"}:
            return 200, json.dumps(
                {"pid": os.getpid(), "slot": self.slot.index, "device": str(self.slot.device)}
            ).encode()
        if path == "/environment":
            return 200, json.dumps(dict(os.environ)).encode()
        if path == "/metrics":
            from asr_service import metrics

            return 200, metrics.render()
        if path == "/large":
            return 200, bytes(16_000_000)
        if path == "/hang":
            time.sleep(3600)  # noqa: ASYNC251  # blocks the event loop
        if not self.ready:
            return 503, b"not ready"
        return await self._work(float(query.get("s", "0")))

    async def _work(self, seconds: float) -> tuple[int, bytes]:
        from asr_service.metrics import AUDIO_SECONDS, INFLIGHT

        self.n_open += 1
        INFLIGHT.labels(str(self.slot.index)).inc()
        try:
            await asyncio.sleep(seconds)
            AUDIO_SECONDS.inc()
            return 200, b"done"
        finally:
            self.n_open -= 1
            INFLIGHT.labels(str(self.slot.index)).dec()

    def _show(self) -> None:
        from asr_service.metrics import SLOT_READY

        SLOT_READY.labels(str(self.slot.index)).set(self.ready)

    def _fault(self, name: str) -> str:
        faults = Path(os.environ["FAKE_DIR"])
        for path in (faults / f"{name}.{self.slot.index}", faults / name):
            if path.exists():
                return path.read_text()
        return ""
