"""The work of a slot on jobs: it runs them, sweeps, and sends webhooks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from asr_service.api.jobs.runs import JobRuns
from asr_service.engine.slot import SlotEngine
from asr_service.jobs.running.slot_runner import SlotRunner
from asr_service.jobs.service import Jobs, open_jobs
from asr_service.jobs.sweeper import Sweeper
from asr_service.jobs.times import RunnerTimes
from asr_service.jobs.webhooks import WebhookSender
from asr_service.webhooks.configuration import webhook_configuration


class _Part(Protocol):
    def start(self) -> None: ...

    async def close(self) -> None: ...


class _DrainablePart(_Part, Protocol):
    @property
    def busy(self) -> bool: ...

    def begin_drain(self) -> None: ...


class SlotJobs:
    """All parts of a slot that work on jobs. If the service keeps no jobs, it only runs jobs for workers."""

    def __init__(self, engine: SlotEngine, times: RunnerTimes, charge: Callable[[str, float], None]) -> None:
        """`charge` is called with the owner of a job that was transcribed, and its seconds of audio.

        Raises ConfigurationError: a setting is wrong.
        """
        self.jobs: Jobs | None = open_jobs(engine.settings)
        self.runs = JobRuns(engine, charge)
        self._drainable: list[_DrainablePart] = []
        self._others: list[_Part] = []
        if self.jobs is None:
            return
        self._others.append(Sweeper(self.jobs, times))
        self._drainable.append(SlotRunner(engine, self.jobs, times, charge))
        self._drainable.append(WebhookSender(self.jobs, webhook_configuration(engine.settings), times))

    @property
    def busy(self) -> bool:
        return self.runs.busy or any(part.busy for part in self._drainable)

    def begin_drain(self) -> None:
        self.runs.begin_drain()
        for part in self._drainable:
            part.begin_drain()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        parts = [*self._drainable, *self._others]
        for part in parts:
            part.start()
        try:
            yield
        finally:
            for part in parts:
                await part.close()
            if self.jobs is not None:
                self.jobs.close()
