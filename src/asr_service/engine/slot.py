"""One slot: its state, its admission, its decoder processes, and the engine that its threads load and watch."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

import structlog

from asr_service import metrics
from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.engine.build import Engine, build_engine
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.pipeline.live.options import LiveOptions
from asr_service.engine.pipeline.live.session import LiveSession
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.engine.schedule.admission import Admission, Load
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.engine.sizing import cpu_pool_threads
from asr_service.engine.warmup import warm_up
from asr_service.engine.watchdog import Watchdog
from asr_service.errors import NotReady, StartupError
from asr_service.hardware.devices import Slot
from asr_service.hardware.malloc import retain_heap
from asr_service.languages import check_language
from asr_service.lifecycle import Die, SlotState
from asr_service.settings import Settings

log = structlog.get_logger(__name__)

ModelLoader = Callable[[Settings, Slot, Callable[[], None]], SpeechModel]
"""Loads a slot's model. It calls the third argument when the model's files are on the disk: only the time after that
call counts towards ASR_MODEL_LOAD_TIMEOUT_S."""

ENGINE_FAILURE: Final = 70
"""EX_SOFTWARE of sysexits.h."""

_POLL_S: Final = 0.02


class SlotEngine:
    """Owns the model, its threads and the decoder processes of one worker process.

    The model loads in a thread of its own while the process already answers requests. If the load fails or hangs, `die`
    ends this worker and no other.
    """

    def __init__(self, settings: Settings, slot: Slot, load: ModelLoader, die: Die) -> None:
        check_language(settings.language)
        self.settings = settings
        self.slot = slot
        self.state = SlotState.LOADING
        self.reason: str | None = "the model's files are being found or downloaded"
        """Why the slot is not ready; None while it is."""
        self.started_at = time.monotonic()
        self._load = load
        self._die = die
        self._changing_state = threading.Lock()
        self._load_begun = False
        self._loading_since: float | None = None
        self._engine: Engine | None = None
        self._closed = threading.Event()
        self._cpu_pool = ThreadPoolExecutor(cpu_pool_threads(), thread_name_prefix="cpu")
        self._live_pool = ThreadPoolExecutor(cpu_pool_threads(), thread_name_prefix="live")
        self._decoders = DecoderPool(
            DecodeLimits(max_audio_s=settings.max_audio_s, memory_bytes=settings.decoder_memory_bytes),
            max_parallel=settings.decoders,
            require_sandbox=settings.decoder_sandbox == "require",
        )
        self._watchdog = Watchdog(slot, settings, self)
        self.admission = Admission(
            self._current_load,
            max_open_requests=settings.max_open_requests,
            max_queued_audio_s=settings.max_queued_audio_s,
            max_wait_s=settings.max_wait_s,
            on_change=metrics.INFLIGHT.labels(str(slot.index)).set,
        )

    def begin_to_load(self) -> None:
        """Start the threads that load the model and watch the slot. Call it at most once, before or in `start`."""
        if self.slot.device.kind == "cpu":
            retain_heap()
        self._load_begun = True
        threading.Thread(target=self._bring_up, name="load", daemon=True).start()
        threading.Thread(target=self._watchdog.run, args=(self._closed,), name="watchdog", daemon=True).start()

    async def start(self) -> None:
        """Start the decoder processes, and the load of the model if it has not begun.

        If the decoders cannot start, the worker ends by `die` with the reason.
        """
        try:
            await self._decoders.start()
        except StartupError as error:
            self._end_worker(error.exit_code, f"{error.message.rstrip('.')}. Run `asr-service doctor` to find a fix.")
            raise
        if not self._load_begun:
            self.begin_to_load()

    async def wait_until_ready(self) -> None:
        """Wait while the model loads. Raises NotReady: the slot failed or drains."""
        while self.state is SlotState.LOADING:  # noqa: ASYNC110 - a thread changes the state
            await asyncio.sleep(_POLL_S)
        _ = self.transcriber

    async def close(self) -> None:
        """End the engine. Open requests get EngineStopped."""
        self._closed.set()
        self.begin_drain()
        if self.scheduler:
            self.scheduler.stop()
            await asyncio.to_thread(self.scheduler.join, 5.0)
        await self._decoders.close()
        for pool in (self._cpu_pool, self._live_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    def begin_drain(self) -> None:
        """Refuse new requests; accepted ones continue. Live sessions end with their open turns."""
        self._enter(SlotState.DRAINING, "the service is draining", after={SlotState.LOADING, SlotState.READY})
        if self._engine is not None:
            self._engine.live.drain()

    def fail(self, reason: str) -> None:
        """End the worker with exit code 70, unless the slot is closed already."""
        self._end_worker(ENGINE_FAILURE, reason)

    @property
    def ready(self) -> bool:
        return self.state is SlotState.READY

    @property
    def busy(self) -> bool:
        return self.admission.open_requests > 0

    @property
    def model(self) -> SpeechModel | None:
        """None until the model is loaded."""
        return self._engine.model if self._engine else None

    @property
    def scheduler(self) -> Scheduler | None:
        """None until the model is loaded."""
        return self._engine.scheduler if self._engine else None

    @property
    def loading_since(self) -> float | None:
        """When the load of the model began (monotonic seconds); None before it and after it."""
        return self._loading_since if self.state is SlotState.LOADING else None

    @property
    def transcriber(self) -> Transcriber:
        """Raises NotReady."""
        if not self.ready or self._engine is None:
            raise self.not_ready()
        return self._engine.transcriber

    @asynccontextmanager
    async def open_live(
        self,
        options: LiveOptions,
        *,
        caller: Caller = UNKNOWN_CALLER,
        on_audio: Callable[[float], None] = lambda _: None,
    ) -> AsyncIterator[LiveSession]:
        """Open a live session, which holds one of the slot's places. All its work is cancelled when the context ends.

        `on_audio` is called with the seconds of audio, as they are fed.
        Raises NotReady: the slot is not ready. Raises Overloaded, CallerLimit: the model cannot follow one more
        session, or there is no place for another request.
        """
        if not self.ready or self._engine is None:
            raise self.not_ready()
        with self.admission.permit(caller):
            async with self._engine.live.open(options, caller=caller, on_audio=on_audio) as session:
                yield session

    @property
    def loaded_model(self) -> SpeechModel:
        """Raises NotReady."""
        if self._engine is None:
            raise self.not_ready()
        return self._engine.model

    def not_ready(self) -> NotReady:
        """Return the error for a request that this slot cannot take now."""
        retry_after_s = 5 if self.state is SlotState.LOADING else 10
        return NotReady(f"The slot is not ready: {(self.reason or '').rstrip('.')}.", retry_after_s=retry_after_s)

    def queue(self) -> tuple[int, float]:
        """Return how many windows wait for the model, and their seconds of audio."""
        return (self.scheduler.depth, self.scheduler.queued_audio_s) if self.scheduler else (0, 0.0)

    def _current_load(self) -> Load:
        if self.scheduler is None:
            return Load(0.0, 0.0)
        queued_s = self.scheduler.queued_audio_s
        return Load(queued_s, self.scheduler.throughput.estimate_s(queued_s))

    def _enter(self, state: SlotState, reason: str | None, *, after: Collection[SlotState] = tuple(SlotState)) -> None:
        """Change the state if it is one of `after`. The end of a load and a drain may coincide: the first wins."""
        with self._changing_state:
            if self.state not in after:
                return
            self.state, self.reason = state, reason
            metrics.SLOT_READY.labels(str(self.slot.index)).set(state is SlotState.READY)
        if state is not SlotState.FAILED:  # the worker ends, and its end is logged with the reason
            log.info("slot state changed", state=state, reason=reason, slot=self.slot.index)

    def _bring_up(self) -> None:
        """Load the model and warm it up, in a thread."""
        began = time.monotonic()
        try:
            model = self._load(self.settings, self.slot, self._note_files_found)
            show_memory = metrics.WINDOW_MEMORY.labels(str(self.slot.index)).set
            engine = build_engine(
                self.settings,
                model,
                self._decoders,
                self._cpu_pool,
                self.fail,
                show_memory,
                live_pool=self._live_pool,
                slot_name=str(self.slot.index),
            )
            self._engine = engine
            engine.scheduler.start()
            warm_up(engine.scheduler, model)
        except StartupError as error:
            self._end_worker(error.exit_code, error.message)
        except Exception as error:
            if self._closed.is_set():
                return
            log.exception("the engine did not start")
            self.fail(f"The engine did not start: {error}")
        else:
            self._report(model, time.monotonic() - began)
            self._enter(SlotState.READY, None, after={SlotState.LOADING})

    def _note_files_found(self) -> None:
        self._loading_since = time.monotonic()
        self._enter(SlotState.LOADING, "the model is loading", after={SlotState.LOADING})

    def _report(self, model: SpeechModel, load_s: float) -> None:
        facts = model.facts
        metrics.MODEL_LOAD.labels(str(self.slot.index)).set(load_s)
        metrics.build_info(facts.name, facts.compute_type, str(self.slot.device))
        log.info(
            "model loaded",
            model=facts.name,
            compute_type=facts.compute_type,
            device=str(self.slot.device),
            seconds=round(load_s, 2),
            threads=facts.threads,
        )

    def _end_worker(self, exit_code: int, reason: str) -> None:
        if self._closed.is_set():
            return
        try:
            self._enter(SlotState.FAILED, reason)
        finally:  # even if the metrics' disk is full
            self._die(exit_code, reason)
