"""Serves the real application on a real socket, with a fake model."""

import contextlib
import io
import re
import socket
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx
import numpy as np
import uvicorn

from asr_service.api.app import SlotApplication
from asr_service.api.factory import create_app
from asr_service.engine.schedule.admission import Admission
from asr_service.engine.slot import ModelLoader
from asr_service.hardware.devices import Device, Slot
from asr_service.jobs.times import RunnerTimes
from asr_service.results.times import ResultTimes
from asr_service.settings import load_settings
from fakes import Call, FakeModel
from waiting import until


def tone(seconds: float = 1.0, *, rate: int = 16_000) -> bytes:
    """Return a WAV file with a tone. It has no speech, so send it with vad_filter=false."""
    return wav(_sine(seconds, rate), rate)


def two_windows() -> bytes:
    """Return a WAV file of two windows: a tone, a pause and a shorter tone."""
    return wav(_sine(25, 16_000) + bytes(32_000) + _sine(8, 16_000))


def in_second_window(call: Call) -> bool:
    """Return True if the model was called for the shorter window. Either may come first."""
    return call.stage == "generate" and call.n_frames < 2000


def _sine(seconds: float, rate: int) -> bytes:
    t = np.arange(round(seconds * rate)) / rate
    return (0.3 * 32767 * np.sin(2 * np.pi * 440 * t)).astype("<i2").tobytes()


def wav(pcm: bytes, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()


CPU = Device("cpu")
ALL = {"vad_filter": "false"}
"""Options with which a tone is transcribed."""


class Live:
    """A running slot."""

    def __init__(self, app: SlotApplication, model: FakeModel, port: int) -> None:
        self.app = app
        self.model = model
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def admission(self) -> Admission:
        return self.app._engine.admission

    def post(self, path: str = "/transcribe", *, audio: bytes | None = None, **fields: str) -> httpx.Response:
        """Send a form with the audio, by default a second of tone, and the fields."""
        file = ("speech.wav", tone() if audio is None else audio, "audio/wav")
        return httpx.post(f"{self.url}{path}", files={"file": file}, data=ALL | fields, timeout=60)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=60)

    def metric(self, sample: str) -> float:
        """Return the value of a sample; 0 if there is none yet."""
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def raw(self, request: bytes) -> tuple[int, bytes]:
        """Send these bytes, and return the status and body of one response."""
        with self.connect() as peer:
            peer.sendall(request)
            return read_answer(peer)

    def idle(self) -> bool:
        """Return True if no request holds a resource."""
        return self.admission.open_requests == 0 and self.app._engine.queue() == (0, 0.0)


def read_answer(peer: socket.socket) -> tuple[int, bytes]:
    with peer.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = dict(line.decode("latin-1").lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
        return status, stream.read(int(headers.get("content-length", "0")))


@contextmanager
def serving(
    model: FakeModel | None = None,
    *,
    load: ModelLoader | None = None,
    ready: bool = True,
    device: Device = CPU,
    job_times: RunnerTimes = RunnerTimes(),  # noqa: B008 - frozen
    result_times: ResultTimes = ResultTimes(),  # noqa: B008 - frozen
    **settings: Any,
) -> Iterator[Live]:
    """Serve in a thread until the context ends. `ready` waits for the model.

    Windows have 30 s, as on a GPU, unless `settings` sets another length.
    """
    model = model or FakeModel()
    app = create_app(
        load_settings({}, **{"chunk_length_s": 30} | settings),
        Slot(0, device),
        _die,
        load=load or (lambda *_: model),
        job_times=job_times,
        result_times=result_times,
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=2,
        ws_max_size=21 * 1024**2,
        ws_per_message_deflate=False,
    )
    server = _Server(config)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, what="the server")
        live = Live(app, model, listener.getsockname()[1])
        if ready:
            until(lambda: app.ready, what="the model")
        yield live
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _die(exit_code: int, reason: str) -> NoReturn:
    raise SystemExit(f"{exit_code}: {reason}")
