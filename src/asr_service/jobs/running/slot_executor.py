"""Transcribes the recordings of jobs with the model of a slot, as bulk requests."""

import hashlib
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import BinaryIO

from asr_service import __version__
from asr_service.engine.model.stages import Stage
from asr_service.engine.options import DecodingOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.engine.slot import SlotEngine
from asr_service.jobs.running.executor import Event, Length, Started, Work


class SlotExecutor:
    """Implements `Executor`."""

    def __init__(self, engine: SlotEngine) -> None:
        self._engine = engine

    @property
    def n_useful(self) -> int:
        """How many jobs may run: enough to fill the batches of the model, one while it has other work, 0 at first."""
        scheduler = self._engine.scheduler
        if not self._engine.ready or scheduler is None:
            return 0
        if scheduler.queued_audio_s > 0:  # of requests; windows of jobs do not count
            return 1
        return max(scheduler.limit(Stage.GENERATE), self._engine.loaded_model.facts.threads)

    async def transcribe(self, work: Work, file: BinaryIO) -> AsyncGenerator[Event]:
        engine = self._engine
        options = resolve_options(work.options, engine.settings, engine.loaded_model)
        resume_key = _resume_key(options, engine)
        yield Started(resume_key)
        lengths: list[float] = []
        events = engine.transcriber.transcribe(
            file,
            options,
            deadline=math.inf,
            on_length=lengths.append,
            earlier=work.earlier if work.resume_key == resume_key else (),
            is_bulk=True,
        )
        async with aclosing(events):
            async for event in events:
                if lengths:
                    yield Length(lengths[-1])
                    lengths.clear()
                yield event


def _resume_key(options: DecodingOptions, engine: SlotEngine) -> str:
    """Return a hash of everything that decides how a recording is cut into windows, and what is decoded in them."""
    facts, settings = engine.loaded_model.facts, engine.settings
    depends_on = (
        __version__, options, facts.name, facts.compute_type, facts.device.kind,
        settings.encoder_context, settings.encoder_margin_s, settings.chunk_length_s, settings.block_length_s,
    )  # fmt: skip
    return hashlib.sha256(repr(depends_on).encode()).hexdigest()
