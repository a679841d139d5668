"""A slot's engine from its start to its end."""

import asyncio
import re
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, cast

import pytest

from asr_service.engine import slot as slot_module
from asr_service.engine.options import DecodingOptions
from asr_service.engine.slot import ENGINE_FAILURE, ModelLoader, SlotEngine
from asr_service.errors import ModelUnavailable, NotReady
from asr_service.hardware import malloc
from asr_service.hardware.devices import Device, Slot
from asr_service.lifecycle import Die, SlotState
from asr_service.settings import Settings, load_settings
from engines import loud, until, wav
from fakes import Call, FakeModel, sleeping

SLOT = Slot(0, Device("cpu"))


class Died(Exception):
    """What stands for the end of the process."""


class Undertaker:
    """Notes why the process was to end."""

    def __init__(self) -> None:
        self.deaths: list[tuple[int, str]] = []

    def __call__(self, code: int, reason: str) -> NoReturn:
        self.deaths.append((code, reason))
        raise Died


@asynccontextmanager
async def served(load: ModelLoader, die: Die, **settings: Any) -> AsyncIterator[SlotEngine]:
    service = SlotEngine(load_settings({}, **settings), SLOT, load, die)
    await service.start()
    try:
        yield service
    finally:
        await service.close()


def no_death(code: int, reason: str) -> NoReturn:
    raise AssertionError(f"died with {code}: {reason}")


async def test_ready_comes_after_the_warm_up():
    """Until then it says that it loads; the warm-up goes the whole way, word alignment included."""
    gate = threading.Event()
    model = FakeModel()

    def load(*_: object) -> FakeModel:
        assert gate.wait(10)
        return model

    async with served(load, no_death) as service:
        assert service.state is SlotState.LOADING
        with pytest.raises(NotReady, match="files"):
            _ = service.transcriber
        gate.set()
        await until(lambda: service.ready)
        assert [call.stage for call in model.calls] == ["encode", "detect", "generate", "align"]


async def test_decoders_that_do_not_start_end_the_worker_with_the_reason():
    """Here for want of memory: nobody could be served, and the log says where to look."""
    die, over = Undertaker(), threading.Event()

    def load(*_: object) -> FakeModel:
        over.wait(10)
        raise RuntimeError("nobody waits for a model any more")

    service = SlotEngine(load_settings({}, decoder_memory_bytes=1_000_000), SLOT, load, die)
    with pytest.raises(Died):
        await service.start()
    await service.close()
    over.set()
    assert len(die.deaths) == 1
    assert re.match("the audio decoder cannot be started: .*`asr-service doctor`", die.deaths[0][1])


async def test_a_slow_warm_up_sends_nobody_away():
    """A kernel's first call may take many times what the next will: no wait is expected by it."""
    model = FakeModel(before=sleeping(0.3))
    async with served(lambda *_: model, no_death) as service:
        await until(lambda: service.ready)
        assert service._scheduler is not None
        assert service._scheduler.throughput.estimate_s(10_000) == 0
        model.before = lambda _: None
        with tempfile.TemporaryFile() as file, service.admission.permit():
            file.write(wav(loud(30)))
            options = DecodingOptions(language="en", vad_filter=False)
            assert [event async for event in service.transcriber.transcribe(cast("BinaryIO", file), options)]
        assert 0 < service._scheduler.throughput.estimate_s(10_000) < 1000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_no_model_ends_the_worker_with_its_own_code():
    """The process around it decides whether to try again."""
    die = Undertaker()

    def load(*_: object) -> FakeModel:
        raise ModelUnavailable("there is none")

    async with served(load, die) as service:
        await until(lambda: bool(die.deaths))
        assert (service.state, service.reason) == (SlotState.FAILED, "there is none")
    assert die.deaths == [(ModelUnavailable.exit_code, "there is none")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_model_that_fails_to_warm_up_ends_the_worker():
    """Such as a GPU that cannot align: no request is let in."""
    die = Undertaker()

    def broken(call: Call) -> None:
        if call.stage == "align":
            raise ValueError("no such kernel")

    async with served(lambda *_: FakeModel(before=broken), die):
        await until(lambda: bool(die.deaths))
    assert die.deaths[0][0] == ENGINE_FAILURE


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_load_that_hangs_ends_the_worker(monkeypatch: pytest.MonkeyPatch):
    """At model_load_timeout_s."""
    monkeypatch.setattr(slot_module, "_LOOK_EVERY_S", 0.02)
    die, never = Undertaker(), threading.Event()

    def load(_settings: Settings, _slot: Slot, on_files: Callable[[], None]) -> FakeModel:
        on_files()
        never.wait(10)
        return FakeModel()

    async with served(load, die, model_load_timeout_s=0.2):
        await until(lambda: bool(die.deaths))
        never.set()
    assert die.deaths[0][0] == ENGINE_FAILURE


async def test_a_slow_download_is_no_hanging_load(monkeypatch: pytest.MonkeyPatch):
    """model_load_timeout_s counts from when the files are there."""
    monkeypatch.setattr(slot_module, "_LOOK_EVERY_S", 0.02)
    model = FakeModel()

    def load(_settings: Settings, _slot: Slot, on_files: Callable[[], None]) -> FakeModel:
        time.sleep(1.6)
        on_files()
        return model

    async with served(load, no_death, model_load_timeout_s=1.5) as service:
        await until(lambda: service.ready)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_call_that_hangs_ends_the_worker(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """The watchdog, once the call has lasted longer than a request may, and the grace."""
    monkeypatch.setattr(slot_module, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(slot_module, "_GRACE_S", 0.1)
    die, never, served_once = Undertaker(), threading.Event(), threading.Event()
    model = FakeModel(before=lambda _: served_once.is_set() and never.wait(10))
    path = tmp_path / "loud.wav"
    path.write_bytes(wav(loud(3)))
    async with served(lambda *_: model, die, request_timeout_s=0.2) as service:
        await until(lambda: service.ready)
        served_once.set()
        with path.open("rb") as file:
            events = service.transcriber.transcribe(file, DecodingOptions(language="en", vad_filter=False))
            waiting = asyncio.ensure_future(anext(events))
            await until(lambda: bool(die.deaths))
            never.set()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    assert "outlived" in die.deaths[0][1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
async def test_a_clip_waits_for_no_call_of_a_recordings_later_windows(device: Literal["cpu", "cuda"], tmp_path):
    """On a CPU. A GPU takes one call after the other."""
    recording, clip = tmp_path / "recording.wav", tmp_path / "clip.wav"
    recording.write_bytes(wav(loud(50)))
    clip.write_bytes(wav(loud(3)))
    gate, blocked, begun, warm = threading.Event(), threading.Event(), False, False

    def hold_the_second_window(call: Call) -> None:
        nonlocal begun
        if begun and call.stage == "generate" and not blocked.is_set():
            blocked.set()
            assert gate.wait(10)
        begun = begun or (warm and call.stage == "generate")

    model = FakeModel(before=hold_the_second_window)
    model.facts = replace(model.facts, device=Device(device), threads=1)
    options = DecodingOptions(language="en", vad_filter=False)

    async def transcribe(path: Path) -> None:
        with path.open("rb") as file:
            async for _ in service.transcriber.transcribe(file, options):
                pass

    async with served(lambda *_: model, no_death) as service:
        await until(lambda: service.ready)
        warm = True
        long = asyncio.create_task(transcribe(recording))
        await until(blocked.is_set)
        short = asyncio.create_task(transcribe(clip))
        done, _ = await asyncio.wait([short], timeout=10 if device == "cpu" else 0.5)
        gate.set()
        await asyncio.gather(long, short)
    assert bool(done) == (device == "cpu")


async def test_memory_is_given_back_when_the_work_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Once, the warm-up's first; and again after a request."""
    monkeypatch.setattr(slot_module, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(malloc, "_IDLE_S", 0.05)
    given = threading.Event()
    monkeypatch.setattr(slot_module, "give_memory_back", given.set)
    path = tmp_path / "loud.wav"
    path.write_bytes(wav(loud(3)))
    async with served(lambda *_: FakeModel(), no_death) as service:
        await until(given.is_set)
        given.clear()
        await asyncio.sleep(0.2)
        assert not given.is_set()
        with path.open("rb") as file:
            async for _ in service.transcriber.transcribe(file, DecodingOptions(language="en", vad_filter=False)):
                pass
        await until(given.is_set)


async def test_draining_refuses_what_is_new():
    """And says so; what was accepted is the caller's to wait for (`busy`)."""
    async with served(lambda *_: FakeModel(), no_death) as service:
        await until(lambda: service.ready)
        with service.admission.permit():
            service.begin_drain()
            assert service.busy
            with pytest.raises(NotReady, match="draining"):
                _ = service.transcriber
        assert not service.busy


async def test_a_drain_while_loading_stays_a_drain():
    """The model that comes up late does not reopen the door."""
    gate = threading.Event()

    def load(*_: object) -> FakeModel:
        assert gate.wait(10)
        return FakeModel()

    async with served(load, no_death) as service:
        service.begin_drain()
        gate.set()
        await until(lambda: service.model is not None)
        assert service.state is SlotState.DRAINING
