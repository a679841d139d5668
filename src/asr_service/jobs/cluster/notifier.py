"""Wakes job workers when jobs wait."""

import asyncio
from typing import Final, Protocol

import structlog

from asr_service import tasks
from asr_service.errors import Unavailable
from asr_service.jobs.records import JobStatus
from asr_service.jobs.service import Jobs

log = structlog.get_logger(__name__)

_MAX_MESSAGES: Final = 1000
"""More messages are sent when workers have taken these."""


class Wakes(Protocol):
    """The part of `Broker` that a service needs."""

    def wake(self, n_waiting: int) -> int: ...

    def close(self) -> None: ...


class WorkerNotifier:
    """Compares the waiting jobs with the messages in the broker, and sends those that are missing.

    It does so after each submission and at intervals. So a job that was accepted while the broker was down, one that
    was put back, and one whose message the broker has lost all get a message.
    """

    def __init__(self, jobs: Jobs, broker: Wakes, interval_s: float) -> None:
        self._jobs = jobs
        self._broker = broker
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._notify_forever())

    async def close(self) -> None:
        if self._task is not None:
            await tasks.cancel([self._task])
        self._broker.close()

    async def _notify_forever(self) -> None:
        while True:
            self._jobs.submitted.clear()
            try:
                await asyncio.to_thread(self._notify)
            except Unavailable as error:
                log.warning("job workers cannot be woken", reason=error.message)
            except Exception:
                log.exception("job workers cannot be woken")
            await tasks.wait_for_event(self._jobs.submitted, self._interval_s)

    def _notify(self) -> None:
        n_waiting = self._jobs.store.counts().by_status[JobStatus.QUEUED]
        if n_waiting:
            self._broker.wake(min(n_waiting, _MAX_MESSAGES))
