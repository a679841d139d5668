"""The work of a slot on jobs: it runs them and sends webhooks, or wakes the job workers; and it sweeps."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from asr_service.api.jobs.runs import JobRuns
from asr_service.engine.slot import SlotEngine
from asr_service.errors import ConfigurationError
from asr_service.extras import install_command
from asr_service.jobs.running.slot_executor import SlotExecutor
from asr_service.jobs.running.slot_runner import SlotRunner
from asr_service.jobs.service import Jobs, open_jobs
from asr_service.jobs.sweeper import Sweeper
from asr_service.jobs.times import RunnerTimes
from asr_service.jobs.webhooks import WebhookSender
from asr_service.results.cache import ResultCache
from asr_service.settings import Settings
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

    def __init__(
        self,
        engine: SlotEngine,
        times: RunnerTimes,
        charge: Callable[[str, float], None],
        cache: ResultCache | None,
    ) -> None:
        """`charge` is called with the owner of a job that was transcribed, and its seconds of audio.

        Raises ConfigurationError: a setting is wrong.
        """
        self.jobs: Jobs | None = open_jobs(engine.settings)
        executor = SlotExecutor(engine, charge, cache)
        self.runs = JobRuns(engine, executor)
        self._drainable: list[_DrainablePart] = []
        self._others: list[_Part] = []
        if self.jobs is None:
            return
        self._others.append(Sweeper(self.jobs, times))
        if engine.settings.jobs_runner == "workers":
            self._others.append(open_notifier(engine.settings, self.jobs, times))
        else:
            self._drainable.append(SlotRunner(executor, engine.slot.index, self.jobs, times))
            self._drainable.append(WebhookSender(self.jobs, webhook_configuration(engine.settings), times))

    @property
    def busy(self) -> bool:
        return self.runs.busy or any(part.busy for part in self._drainable)

    def begin_drain(self) -> None:
        self.runs.begin_drain()
        for part in self._drainable:
            part.begin_drain()
        if self.jobs is not None and not self._drainable:
            self.jobs.release_clients()

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


def open_notifier(settings: Settings, jobs: Jobs, times: RunnerTimes) -> _Part:
    """Open the part that wakes job workers. Raises ConfigurationError: a setting or a package is missing."""
    if settings.jobs_url is None:
        raise ConfigurationError(
            "ASR_JOBS_RUNNER=workers needs a Redis, through which the workers are woken. Set ASR_JOBS_URL.",
            param="ASR_JOBS_RUNNER",
        )
    try:
        from asr_service.jobs.cluster.broker import Broker  # noqa: PLC0415 - an optional dependency
        from asr_service.jobs.cluster.notifier import WorkerNotifier  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"ASR_JOBS_RUNNER=workers needs the package {error.name}. Run `{install_command('cluster')}`.",
            param="ASR_JOBS_RUNNER",
        ) from error
    broker = Broker(settings.jobs_url.get_secret_value(), settings.redis_prefix)
    return WorkerNotifier(jobs, broker, times.sweep_s)
