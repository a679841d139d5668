"""One slot's engine from its start to its end: loading, ready, draining, failed."""

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import structlog

from asr_service import metrics
from asr_service.audio.features import LogMel
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.gauges import SlotGauges
from asr_service.engine.model.calls import run_calls
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.model.stages import Stage
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.pipeline.transcriber import Limits, Transcriber
from asr_service.engine.schedule.admission import Admission, Load
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.engine.sizing import batch_limits, encoder_margin_s, helper_threads
from asr_service.engine.warmup import warm_up
from asr_service.errors import NotReady, StartupError
from asr_service.hardware.devices import Slot
from asr_service.hardware.malloc import Tidying, give_memory_back, keep_memory
from asr_service.languages import check_language
from asr_service.lifecycle import Die, SlotState
from asr_service.settings import Settings

log = structlog.get_logger(__name__)

ModelLoader = Callable[[Settings, Slot, Callable[[], None]], SpeechModel]
"""The third argument is to be called when the model's files are there: fetching them may take its time, loading not."""

ENGINE_FAILURE = 70
"""EX_SOFTWARE of sysexits.h."""

_GRACE_S = 30.0
"""A call of the model that has run for so much longer than a whole request may take will not come back."""
_LOOK_EVERY_S = 2.0
CPU_COALESCE_WAIT_S = 0.005


class SlotEngine:
    """Owns the model, its threads and the decoder children of one worker process.

    The model loads on a thread of its own, after the process has begun to answer: a load that fails or hangs ends this
    worker by `die` and no other.
    """

    def __init__(self, settings: Settings, slot: Slot, load: ModelLoader, die: Die) -> None:
        check_language(settings.language)
        self.settings = settings
        self.slot = slot
        self._load = load
        self._die = die
        self._entering = threading.Lock()
        self.state = SlotState.LOADING
        self.reason: str | None = "the model's files are being found or fetched"
        self.model: SpeechModel | None = None
        self.started_at = time.monotonic()
        self._begun = False
        self._loading_since = float("inf")
        self._scheduler: Scheduler | None = None
        self._transcriber: Transcriber | None = None
        self._gauges = SlotGauges(slot)
        self._closed = threading.Event()
        self._helpers = ThreadPoolExecutor(helper_threads(), thread_name_prefix="helper")
        self._decoders = DecoderPool(
            DecodeLimits(max_audio_s=settings.max_audio_s, memory_bytes=settings.decoder_memory_bytes),
            at_once=settings.decoders,
        )
        self.admission = Admission(
            self._current_load,
            max_open_requests=settings.max_open_requests,
            max_queued_audio_s=settings.max_queued_audio_s,
            max_wait_s=settings.max_wait_s,
            on_change=metrics.INFLIGHT.labels(str(slot.index)).set,
        )

    def begin_to_load(self) -> None:
        """Load the model on a thread; returns at once. To be called once, before or in `start`."""
        if self.slot.device.kind == "cpu":
            keep_memory()
        self._begun = True
        for target in (self._bring_up, self._watch):
            threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True).start()

    async def start(self) -> None:
        """Do what needs the event loop, and begin to load if that has not begun.

        Without decoders this worker is of no use, and ends by `die`, which is to say why.
        """
        try:
            await self._decoders.start()
        except StartupError as error:
            self._fail(error.exit_code, f"{error.message}; `asr-service doctor` names the cure")
            raise
        if not self._begun:
            self.begin_to_load()

    async def close(self) -> None:
        """End the engine. Requests still open get EngineStopped."""
        self._closed.set()
        self.begin_drain()
        if self._scheduler:
            self._scheduler.stop()
            await asyncio.to_thread(self._scheduler.join, 5.0)
        await self._decoders.close()
        self._helpers.shutdown(wait=False, cancel_futures=True)

    def begin_drain(self) -> None:
        """Refuse what is new; what was accepted goes on."""
        self._enter(SlotState.DRAINING, "the service is draining", after={SlotState.LOADING, SlotState.READY})

    @property
    def ready(self) -> bool:
        return self.state is SlotState.READY

    @property
    def busy(self) -> bool:
        return self.admission.open_requests > 0

    @property
    def transcriber(self) -> Transcriber:
        """Raises NotReady."""
        if not self.ready or self._transcriber is None:
            raise NotReady(f"not ready: {self.reason}", retry_after_s=5 if self.state is SlotState.LOADING else 10)
        return self._transcriber

    @property
    def loaded_model(self) -> SpeechModel:
        """Raises NotReady."""
        if self.model is None:
            raise NotReady(f"not ready: {self.reason}")
        return self.model

    def queue(self) -> tuple[int, float]:
        """Windows that wait for the model, and their seconds of audio."""
        return (self._scheduler.depth, self._scheduler.queued_audio_s) if self._scheduler else (0, 0.0)

    def _current_load(self) -> Load:
        if self._scheduler is None:
            return Load(0.0, 0.0)
        queued_s = self._scheduler.queued_audio_s
        return Load(queued_s, self._scheduler.throughput.estimate_s(queued_s))

    def _enter(self, state: SlotState, reason: str | None, *, after: Collection[SlotState] = tuple(SlotState)) -> None:
        """Go on from one of the states `after`; from another nothing happens. A load's end and a drain may coincide."""
        with self._entering:
            if self.state not in after:
                return
            self.state, self.reason = state, reason
            metrics.SLOT_READY.labels(str(self.slot.index)).set(state is SlotState.READY)
        log.info("state", state=state, reason=reason, slot=self.slot.index)

    # -- threads

    def _bring_up(self) -> None:
        began = time.monotonic()
        try:
            model = self._load(self.settings, self.slot, self._begin_loading)
            scheduler = self._engine(model)
            warm_up(scheduler, model)
        except StartupError as error:
            self._fail(error.exit_code, error.message)
        except Exception as error:
            if self._closed.is_set():
                return
            log.exception("the model did not come up")
            self._fail(ENGINE_FAILURE, f"the model did not come up: {error}")
        else:
            lasted = time.monotonic() - began
            self._report(model, lasted)
            self._enter(SlotState.READY, None, after={SlotState.LOADING})

    def _begin_loading(self) -> None:
        self._loading_since = time.monotonic()
        if self.state is SlotState.LOADING:
            self.reason = "the model is loading"

    def _engine(self, model: SpeechModel) -> Scheduler:
        """Everything that stands on the model."""
        facts, settings = model.facts, self.settings
        on_gpu = facts.device.kind == "cuda"
        scheduler = Scheduler(
            lambda batch: run_calls(model, batch.stage, [job.payload for job in batch.jobs]),
            batch_limits(settings, on_gpu=on_gpu),
            n_threads=facts.threads,
            on_failure=lambda reason: self._fail(ENGINE_FAILURE, reason),
            coalesce_wait_s=0.0 if on_gpu else CPU_COALESCE_WAIT_S,
            priority_thread=facts.priority_thread,
        )
        windows = WindowDecoder(
            Vocabulary(model.tokenizer, multilingual=facts.multilingual),
            LogMel(facts.n_mels),
            self._helpers,
            multilingual=facts.multilingual,
            margin_s=encoder_margin_s(settings, on_gpu=on_gpu),
            chunk_length_s=settings.chunk_length_s,
        )
        limits = Limits(
            block_length_s=settings.block_length_s,
            windows_ahead=2 * max(scheduler.limit(Stage.GENERATE), facts.threads),
            request_timeout_s=settings.request_timeout_s,
        )
        self._transcriber = Transcriber(self._decoders, windows, scheduler, self._helpers, limits, facts.name)
        self.model, self._scheduler = model, scheduler
        scheduler.start()
        return scheduler

    def _report(self, model: SpeechModel, lasted_s: float) -> None:
        facts = model.facts
        metrics.MODEL_LOAD.labels(str(self.slot.index)).set(lasted_s)
        metrics.build_info(facts.name, facts.compute_type, str(self.slot.device))
        log.info(
            "model loaded",
            model=facts.name,
            compute_type=facts.compute_type,
            device=str(self.slot.device),
            seconds=round(lasted_s, 2),
            threads=facts.threads,
        )

    def _fail(self, exit_code: int, reason: str) -> None:
        if self._closed.is_set():
            return
        self._enter(SlotState.FAILED, reason)
        self._die(exit_code, reason)

    def _watch(self) -> None:
        """End the worker where a load or a call of the model hangs, and keep the gauges."""
        tidying = Tidying(time.monotonic())
        while not self._closed.is_set():
            now = time.monotonic()
            if self.state is SlotState.LOADING and now - self._loading_since > self.settings.model_load_timeout_s:
                self._fail(ENGINE_FAILURE, f"the model did not load within {self.settings.model_load_timeout_s:.0f} s")
            if self.state is not SlotState.LOADING and self._scheduler and self._hangs(self._scheduler, now):
                self._fail(ENGINE_FAILURE, "a call of the model has outlived every request and will not come back")
            self._gauges.show(self._scheduler, now)
            if self._scheduler and tidying.is_due(now, self._scheduler.worked_at):
                give_memory_back()
            self._closed.wait(_LOOK_EVERY_S)

    def _hangs(self, scheduler: Scheduler, now: float) -> bool:
        """By the call's own time: one that began when its requests had all but ended is slow at most."""
        return scheduler.longest_call_s(now) > self.settings.request_timeout_s + _GRACE_S
