"""Transcribes the recordings of jobs with the model of a slot, as bulk requests."""

import hashlib
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import BinaryIO, Final

import structlog

from asr_service.engine.fingerprint import engine_fingerprint
from asr_service.engine.model.stages import Stage
from asr_service.engine.options import DecodingOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.engine.slot import SlotEngine
from asr_service.jobs.running.executor import Event, Length, Started, Work
from asr_service.results.cache import BULK, CacheOutcome, ResultCache
from asr_service.results.key import result_key
from asr_service.transcript import Transcript
from asr_service.transcript.events import Events

log = structlog.get_logger(__name__)

MAX_CLIP_BYTES: Final = 1024**2
"""A smaller recording whose length is not known counts as a clip."""


class SlotExecutor:
    """Implements `JobExecutor`."""

    def __init__(
        self, engine: SlotEngine, charge: Callable[[str, float], None], cache: ResultCache | None = None
    ) -> None:
        """`charge` is called with the owner of a job that was transcribed, and its seconds of audio.

        A transcript in the `cache` is the result of an equal job at once, and is not charged.
        """
        self._engine = engine
        self._charge = charge
        self._cache = cache

    def has_room(self, n_clips: int, n_long: int) -> bool:
        """Return whether one more job is useful in addition to these, of which `n_clips` are about one window each.

        Twice what fills the model's calls is useful, and twice as many clips, because only clips of about one length
        share a call. While clients wait it is less, and none before the model is loaded.
        """
        scheduler = self._engine.scheduler
        if not self._engine.ready or scheduler is None:
            return False
        n_running = n_clips + n_long
        if scheduler.queued_audio_s > 0:  # of requests; windows of jobs do not count
            return n_running < 1
        facts = self._engine.loaded_model.facts
        if scheduler.has_clients and facts.device.kind == "cpu":
            # The model leaves them a core, and the decoding and speech detection of more jobs would take it.
            return n_running < max(facts.threads - 1, 1)
        return n_clips / 2 + n_long < 2 * max(scheduler.limit(Stage.GENERATE), facts.threads)

    async def transcribe(self, work: Work, file: BinaryIO) -> AsyncGenerator[Event]:
        engine = self._engine
        options = resolve_options(work.options, engine.settings, engine.loaded_model)
        resume_key = _resume_key(options, engine)
        yield Started(resume_key)
        lengths: list[float] = []
        outcomes: list[CacheOutcome] = []

        def compute() -> Events:
            return engine.transcriber.transcribe(
                file,
                options,
                deadline=math.inf,
                on_length=lengths.append,
                earlier=work.earlier if work.resume_key == resume_key else (),
                is_bulk=True,
            )

        async with aclosing(self._cached(work, options, compute, outcomes.append)) as events:
            async for event in events:
                if lengths:
                    yield Length(lengths[-1])
                    lengths.clear()
                is_hit = CacheOutcome.HIT in outcomes
                if isinstance(event, Transcript) and not is_hit:
                    self._charge(work.owner, event.duration)
                if isinstance(event, Transcript) or not is_hit:
                    yield event

    def _cached(
        self,
        work: Work,
        options: DecodingOptions,
        compute: Callable[[], Events],
        note: Callable[[CacheOutcome], object],
    ) -> Events:
        """Return the events of an equal request or job whose transcript is stored, else those of `compute`."""
        if self._cache is None or work.recording_sha256 is None:
            return compute()
        key = job_result_key(self._engine, work.recording_sha256, options, work.owner)

        def on_outcome(outcome: CacheOutcome) -> None:
            log.info("job looked up in the cache", cache=outcome.value)
            note(outcome)

        return self._cache.events(key, compute, on_outcome=on_outcome, lane=BULK)


def job_result_key(engine: SlotEngine, recording_sha256: str, options: DecodingOptions, owner: str) -> str:
    """Return the key of a job's transcript in the cache."""
    settings, facts = engine.settings, engine.loaded_model.facts
    shared_by = None if settings.cache_shared else owner
    return result_key(recording_sha256, options, engine_fingerprint(settings, facts), shared_by)


def _resume_key(options: DecodingOptions, engine: SlotEngine) -> str:
    """Return a hash of everything that decides how a recording is cut into windows, and what is decoded in them."""
    depends_on = (options, engine_fingerprint(engine.settings, engine.loaded_model.facts))
    return hashlib.sha256(repr(depends_on).encode()).hexdigest()
