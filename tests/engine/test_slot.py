"""The life of a slot's engine: loading, ready, draining, failed."""

import asyncio
import errno
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, cast

import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from asr_service import metrics
from asr_service.engine import watchdog as watchdog_module
from asr_service.engine.gauges import SlotGauges
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.live.events import EndReason, SessionEnded
from asr_service.engine.pipeline.live.options import LiveOptions
from asr_service.engine.sizing import host_window_bytes
from asr_service.engine.slot import ENGINE_FAILURE, ModelLoader, SlotEngine
from asr_service.errors import ModelUnavailable, NotReady
from asr_service.hardware import malloc
from asr_service.hardware.devices import Device, Slot
from asr_service.lifecycle import Die, SlotState
from asr_service.settings import Settings, load_settings
from engines import loud, wav
from fakes import Call, FakeModel, sleeping
from waiting import until_async

SLOT = Slot(0, Device("cpu"))


class WorkerEnded(Exception):
    """Stands for the end of the process."""


class RecordingDie:
    """A `die` that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str]] = []

    def __call__(self, code: int, reason: str) -> NoReturn:
        self.calls.append((code, reason))
        raise WorkerEnded


@asynccontextmanager
async def running(load: ModelLoader, die: Die, **settings: Any) -> AsyncIterator[SlotEngine]:
    engine = SlotEngine(load_settings({}, **settings), SLOT, load, die)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def must_not_die(code: int, reason: str) -> NoReturn:
    raise AssertionError(f"the worker ended with {code}: {reason}")


async def test_a_slot_is_ready_after_the_warm_up():
    """Until then it is loading. The warm-up runs every stage, word alignment included."""
    gate = threading.Event()
    model = FakeModel()

    def load(*_: object) -> FakeModel:
        assert gate.wait(60)
        return model

    async with running(load, must_not_die) as engine:
        assert engine.state is SlotState.LOADING
        with pytest.raises(NotReady, match="files"):
            _ = engine.transcriber
        gate.set()
        await until_async(lambda: engine.ready)
        assert [call.stage for call in model.calls] == ["encode", "detect", "generate", "align"]


async def test_the_worker_ends_with_the_reason_if_the_decoders_cannot_start():
    """Here for lack of memory. The reason names `asr-service doctor`."""
    die, over = RecordingDie(), threading.Event()

    def load(*_: object) -> FakeModel:
        over.wait(10)
        raise RuntimeError("the model is not needed any more")

    engine = SlotEngine(load_settings({}, decoder_memory_bytes=1_000_000), SLOT, load, die)
    with pytest.raises(WorkerEnded):
        await engine.start()
    await engine.close()
    over.set()
    assert len(die.calls) == 1
    assert re.match("the audio decoder cannot be started: .*`asr-service doctor`", die.calls[0][1])


async def test_a_slow_warm_up_does_not_make_the_slot_refuse_requests():
    """A first call may take many times as long as the next one: it does not count towards the expected wait."""
    model = FakeModel(before=sleeping(0.3))
    async with running(lambda *_: model, must_not_die) as engine:
        await until_async(lambda: engine.ready)
        assert engine.scheduler is not None
        assert engine.scheduler.throughput.estimate_s(10_000) == 0
        model.before = lambda _: None
        with tempfile.TemporaryFile() as file, engine.admission.permit():
            file.write(wav(loud(30)))
            options = DecodingOptions(language="en", vad_filter=False)
            assert [event async for event in engine.transcriber.transcribe(cast("BinaryIO", file), options)]
        assert 0 < engine.scheduler.throughput.estimate_s(10_000) < 1000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_missing_model_ends_the_worker_with_exit_code_69():
    """The master decides from the exit code whether to start another worker."""
    die = RecordingDie()

    def load(*_: object) -> FakeModel:
        raise ModelUnavailable("Model 'base' is missing.")

    async with running(load, die) as engine:
        await until_async(lambda: bool(die.calls))
        assert (engine.state, engine.reason) == (SlotState.FAILED, "Model 'base' is missing.")
    assert die.calls == [(ModelUnavailable.exit_code, "Model 'base' is missing.")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_model_that_fails_to_warm_up_ends_the_worker():
    """For example a GPU that cannot align words: no request is accepted."""
    die = RecordingDie()

    def broken(call: Call) -> None:
        if call.stage == "align":
            raise ValueError("no such kernel")

    async with running(lambda *_: FakeModel(before=broken), die):
        await until_async(lambda: bool(die.calls))
    assert die.calls[0][0] == ENGINE_FAILURE


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_load_that_hangs_ends_the_worker(monkeypatch: pytest.MonkeyPatch):
    """After ASR_MODEL_LOAD_TIMEOUT_S."""
    monkeypatch.setattr(watchdog_module, "_INTERVAL_S", 0.02)
    die, never = RecordingDie(), threading.Event()

    def load(_settings: Settings, _slot: Slot, on_files: Callable[[], None]) -> FakeModel:
        on_files()
        never.wait(10)
        return FakeModel()

    async with running(load, die, model_load_timeout_s=0.2):
        await until_async(lambda: bool(die.calls))
        never.set()
    assert die.calls[0][0] == ENGINE_FAILURE


async def test_a_slow_download_does_not_count_as_a_hung_load(monkeypatch: pytest.MonkeyPatch):
    """ASR_MODEL_LOAD_TIMEOUT_S counts from when the files are on the disk."""
    monkeypatch.setattr(watchdog_module, "_INTERVAL_S", 0.02)
    model = FakeModel()

    def load(_settings: Settings, _slot: Slot, on_files: Callable[[], None]) -> FakeModel:
        time.sleep(1.6)
        on_files()
        return model

    async with running(load, must_not_die, model_load_timeout_s=1.5) as engine:
        await until_async(lambda: engine.ready)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_call_that_hangs_ends_the_worker(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Once the call has lasted longer than a request may, plus the grace period."""
    monkeypatch.setattr(watchdog_module, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(watchdog_module, "_GRACE_S", 0.1)
    die, never, served_once = RecordingDie(), threading.Event(), threading.Event()
    model = FakeModel(before=lambda _: served_once.is_set() and never.wait(10))
    path = tmp_path / "loud.wav"
    path.write_bytes(wav(loud(3)))
    async with running(lambda *_: model, die, request_timeout_s=0.2) as engine:
        await until_async(lambda: engine.ready)
        served_once.set()
        with path.open("rb") as file:
            events = engine.transcriber.transcribe(file, DecodingOptions(language="en", vad_filter=False))
            waiting = asyncio.ensure_future(anext(events))
            await until_async(lambda: bool(die.calls))
            never.set()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    assert "will not return" in die.calls[0][1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
async def test_on_a_cpu_a_clip_does_not_wait_for_a_call_of_a_later_window(device: Literal["cpu", "cuda"], tmp_path):
    """A CPU slot has a thread more for first windows. A GPU runs one call after the other."""
    recording, clip = tmp_path / "recording.wav", tmp_path / "clip.wav"
    recording.write_bytes(wav(loud(50)))
    clip.write_bytes(wav(loud(3)))
    gate, blocked, begun, warm = threading.Event(), threading.Event(), False, False

    def hold_the_second_window(call: Call) -> None:
        nonlocal begun
        if begun and call.stage == "generate" and not blocked.is_set():
            blocked.set()
            assert gate.wait(60)
        begun = begun or (warm and call.stage == "generate")

    model = FakeModel(before=hold_the_second_window)
    model.facts = replace(model.facts, device=Device(device), threads=1)
    options = DecodingOptions(language="en", vad_filter=False)

    async def transcribe(path: Path) -> None:
        with path.open("rb") as file:
            async for _ in engine.transcriber.transcribe(file, options):
                pass

    async with running(lambda *_: model, must_not_die) as engine:
        await until_async(lambda: engine.ready)
        warm = True
        long = asyncio.create_task(transcribe(recording))
        await until_async(blocked.is_set)
        short = asyncio.create_task(transcribe(clip))
        done, _ = await asyncio.wait([short], timeout=30 if device == "cpu" else 0.5)
        gate.set()
        await asyncio.gather(long, short)
    assert bool(done) == (device == "cpu")


async def test_a_gauge_shows_the_memory_of_the_windows_that_are_decoded(tmp_path):
    """Features and encodings of a window, until it is decoded."""
    path = tmp_path / "loud.wav"
    path.write_bytes(wav(loud(3)))
    shown: list[float] = []

    def memory_bytes() -> float:
        return REGISTRY.get_sample_value("asr_window_memory_bytes", {"slot": "0"}) or 0.0

    model = FakeModel(before=lambda call: shown.append(memory_bytes()) if call.stage == "generate" else None)
    async with running(lambda *_: model, must_not_die) as engine:
        await until_async(lambda: engine.ready)
        with path.open("rb") as file:
            async for _ in engine.transcriber.transcribe(file, DecodingOptions(language="en", vad_filter=False)):
                pass
        assert shown == [0.0, host_window_bytes(model.facts, 60)], "the warm-up has no request"
        assert memory_bytes() == 0.0


async def test_the_heap_is_trimmed_when_the_work_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Once after the warm-up, and once after a request."""
    monkeypatch.setattr(watchdog_module, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(malloc, "_IDLE_S", 0.05)
    trimmed = threading.Event()
    monkeypatch.setattr(watchdog_module, "trim_heap", trimmed.set)
    path = tmp_path / "loud.wav"
    path.write_bytes(wav(loud(3)))
    async with running(lambda *_: FakeModel(), must_not_die) as engine:
        await until_async(lambda: engine.ready)
        await until_async(trimmed.is_set)
        await asyncio.sleep(0.5)  # a busy machine may pause during the warm-up, which trims once more after it
        trimmed.clear()
        await asyncio.sleep(0.2)
        assert not trimmed.is_set()
        with path.open("rb") as file:
            async for _ in engine.transcriber.transcribe(file, DecodingOptions(language="en", vad_filter=False)):
                pass
        await until_async(trimmed.is_set)


async def test_a_draining_slot_refuses_new_requests():
    """The refusal says why. `busy` is true until the accepted requests are done."""
    async with running(lambda *_: FakeModel(), must_not_die) as engine:
        await until_async(lambda: engine.ready)
        with engine.admission.permit():
            engine.begin_drain()
            assert engine.busy
            with pytest.raises(NotReady, match="draining"):
                _ = engine.transcriber
        assert not engine.busy


async def test_a_live_session_holds_a_place_until_it_is_closed_and_ends_with_the_drain():
    """A slot without a model opens none. A draining one ends those that are open, and opens no more."""
    released = threading.Event()

    def load(settings: Settings, slot: Slot, note: Callable[[], None]) -> FakeModel:
        released.wait(60)
        return FakeModel()

    async with running(load, RecordingDie()) as engine:
        with pytest.raises(NotReady):
            async with engine.open_live(LiveOptions()):
                pass
        released.set()
        await engine.wait_until_ready()
        heard: list[float] = []
        async with engine.open_live(LiveOptions(), on_audio=heard.append) as session:
            assert engine.busy
            await session.feed(np.zeros(8000, np.float32))
            engine.begin_drain()
            assert [event async for event in session.events()] == [SessionEnded(EndReason.DRAINING)]
        assert sum(heard) == 0.5
        assert not engine.busy
        with pytest.raises(NotReady):
            async with engine.open_live(LiveOptions()):
                pass


async def test_a_drain_while_loading_stays_a_drain():
    """A model whose files or load come late changes neither the state nor the reason."""
    gate = threading.Event()

    def load(_settings: Settings, _slot: Slot, on_files: Callable[[], None]) -> FakeModel:
        assert gate.wait(60)
        on_files()
        return FakeModel()

    async with running(load, must_not_die) as engine:
        engine.begin_drain()
        gate.set()
        await until_async(lambda: engine.model is not None)
        assert (engine.state, engine.reason) == (SlotState.DRAINING, "the service is draining")
        with pytest.raises(NotReady, match="draining"):
            await engine.wait_until_ready()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_fault_in_a_gauge_does_not_end_the_watchdog(monkeypatch: pytest.MonkeyPatch):
    """psutil raises without free file descriptors. The fault is logged once, and a hung load still ends the worker."""
    monkeypatch.setattr(watchdog_module, "_INTERVAL_S", 0.02)
    watchdogs: Counter[int] = Counter()  # calls by thread: the slot of another test may still be ending

    def no_descriptors(*_: object) -> None:
        watchdogs[threading.get_ident()] += 1
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(SlotGauges, "show", no_descriptors)
    die, never = RecordingDie(), threading.Event()

    def load(_settings: Settings, _slot: Slot, on_files: Callable[[], None]) -> FakeModel:
        on_files()
        never.wait(10)
        return FakeModel()

    with capture_logs() as lines:
        async with running(load, die, model_load_timeout_s=0.5):
            await until_async(lambda: bool(die.calls))
            never.set()
    assert max(watchdogs.values()) > 3
    logged = [line["duty"] for line in lines if line["event"] == "a duty of the watchdog failed"]
    assert logged == ["set_gauges"] * len(watchdogs)
    assert "did not load within" in die.calls[0][1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_failed_slot_ends_its_worker_even_if_its_metrics_cannot_be_written(monkeypatch: pytest.MonkeyPatch):
    """A full metrics disk must not keep a failed worker alive."""

    def load(*_: object) -> FakeModel:
        monkeypatch.setattr(metrics.SLOT_READY, "labels", no_space)
        raise ModelUnavailable("Model 'base' is missing.")

    def no_space(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    die = RecordingDie()
    engine = SlotEngine(load_settings({}), SLOT, load, die)
    await engine.start()
    await until_async(lambda: bool(die.calls))
    monkeypatch.undo()
    await engine.close()
    assert die.calls == [(69, "Model 'base' is missing.")]
