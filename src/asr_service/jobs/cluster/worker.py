"""The process of a job worker: the threads of Celery, and an event loop on which the jobs run."""

import asyncio
import contextlib
import logging
import secrets
import socket
import threading
import warnings
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import httpx
import structlog
from celery import signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from prometheus_client import start_http_server

from asr_service import metrics, tasks
from asr_service.client.endpoints import open_endpoint
from asr_service.errors import ConfigurationError, Unavailable
from asr_service.jobs.cluster.broker import Broker
from asr_service.jobs.records import JobStatus
from asr_service.jobs.running.attempts import Attempts, RunningAttempt
from asr_service.jobs.running.service_executor import TIMEOUT, ServiceExecutor
from asr_service.jobs.service import Jobs, open_jobs
from asr_service.jobs.times import RunnerTimes
from asr_service.jobs.webhooks import WebhookSender
from asr_service.settings import Settings
from asr_service.tracing import start_tracing, stop_tracing
from asr_service.webhooks.configuration import webhook_configuration

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

_RESTART_S: Final = 15.0
"""Time after an error that ends Celery's consumer, such as a Redis without free memory, until the next one starts."""


def run_worker(settings: Settings, times: RunnerTimes = RunnerTimes()) -> int:  # noqa: B008 - frozen
    """Run jobs until SIGTERM, and return the exit code. Call it in the main thread.

    Raises ConfigurationError: a setting is missing or wrong.
    """
    if settings.jobs_url is None:
        raise ConfigurationError(
            "A job worker needs the Redis of the services. Set ASR_JOBS_URL as it is set there.", param="ASR_JOBS_URL"
        )
    if settings.service_url is None:
        raise ConfigurationError(
            "A job worker needs services, which run its jobs. Set ASR_SERVICE_URL.", param="ASR_SERVICE_URL"
        )
    _serve_metrics(settings)
    jobs = open_jobs(settings)
    assert jobs is not None  # noqa: S101 - with ASR_JOBS_URL there are jobs
    key = None if settings.service_key is None else settings.service_key.get_secret_value()
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    services = [open_endpoint(each.strip(), headers, TIMEOUT) for each in settings.service_url.split(",")]
    sender = WebhookSender(jobs, webhook_configuration(settings), times)
    broker = Broker(settings.jobs_url.get_secret_value(), settings.redis_prefix)
    worker = _Worker(jobs, ServiceExecutor(services), sender, broker, times)
    return worker.run(settings.worker_concurrency, services)


def _serve_metrics(settings: Settings) -> None:
    if settings.worker_port is None:
        return
    metrics.show_job_counters()
    try:
        start_http_server(settings.worker_port, settings.host)
    except OSError as error:
        raise ConfigurationError(
            f"The metrics cannot be served at {settings.host}:{settings.worker_port}: {error.strerror}. Set "
            "ASR_WORKER_PORT to another port, or change ASR_HOST.",
            param="ASR_WORKER_PORT",
        ) from error


class _Worker:
    def __init__(
        self, jobs: Jobs, executor: ServiceExecutor, sender: WebhookSender, broker: Broker, times: RunnerTimes
    ) -> None:
        self._jobs = jobs
        self._attempts = Attempts(jobs, executor, times)
        self._sender = sender
        self._broker = broker
        self._name = socket.gethostname()
        self._loop = asyncio.new_event_loop()
        self._poll_s = times.worker_poll_s
        self._n_threads = 0
        self._polling: asyncio.Task[None] | None = None

    def run(self, n_threads: int, services: Sequence[httpx.AsyncClient]) -> int:
        self._n_threads = n_threads
        thread = threading.Thread(target=self._loop.run_forever, name="jobs")
        thread.start()
        try:
            self._call(self._start())
            self._broker.on_message(self._run_jobs)
            exit_code = _consume(self._broker, n_threads, self._begin_drain)
        finally:
            self._call(self._close(services))
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()
            self._broker.close()
        return exit_code

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        start_tracing(None)
        self._sender.start()
        self._polling = asyncio.create_task(self._poll_forever())

    async def _poll_forever(self) -> None:
        """Claim jobs without a message, too: when its memory is full, Redis takes no messages, but jobs can end."""
        while True:
            await asyncio.sleep(self._poll_s)
            await self._claim()

    def _run_jobs(self) -> None:
        """Run one job after the other until none waits. Called in a thread of Celery."""
        self._call(self._claim_and_run())

    async def _claim_and_run(self) -> None:
        while attempt := await self._claim():
            await asyncio.wait({attempt.task})

    async def _claim(self) -> RunningAttempt | None:
        """Begin to run the next job, if there is one and a thread for it."""
        if len(self._attempts) >= self._n_threads:
            return None
        try:
            # A name for each claim: the store would keep a job that failed from this worker for a while, but it failed
            # in a service.
            return await self._attempts.claim(f"{self._name}/{secrets.token_hex(4)}")
        except Unavailable as error:
            log.warning("no job can be claimed", reason=error.message)
            return None

    def _begin_drain(self) -> None:
        """Give all jobs back. Called by a signal handler, in the main thread."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._drain()))

    async def _drain(self) -> None:
        self._sender.begin_drain()
        if self._polling is not None:
            await tasks.cancel([self._polling])
        await self._attempts.drain()

    async def _close(self, services: Sequence[httpx.AsyncClient]) -> None:
        await self._drain()
        await self._sender.close()
        with contextlib.suppress(Unavailable):  # then the services send the messages
            counts = await self._jobs.call(self._jobs.store.counts)
            await asyncio.to_thread(self._broker.wake, counts.by_status[JobStatus.QUEUED])
        for service in services:
            await service.aclose()
        await asyncio.to_thread(stop_tracing)
        self._jobs.close()


def _consume(broker: Broker, n_threads: int, on_shutdown: Any) -> int:
    """Take messages until SIGTERM or SIGINT. `on_shutdown` is called at once, in the signal's handler."""
    is_ending = threading.Event()

    def shut_down(**_: object) -> None:
        log.info("draining")
        is_ending.set()
        on_shutdown()

    def keep_our_logs(**_: object) -> None:
        """Celery configures logging unless this signal has a receiver."""

    warnings.simplefilter("ignore", SecurityWarning)  # of root, who could run code in messages; ours have none
    warnings.simplefilter("ignore", CPendingDeprecationWarning)  # of the setting that keeps jobs running without Redis
    for name in ("celery", "httpx"):  # a line for each message and each request
        logging.getLogger(name).setLevel(logging.WARNING)
    signals.worker_shutting_down.connect(shut_down)
    signals.setup_logging.connect(keep_our_logs)
    while True:
        consumer = broker.celery.Worker(
            pool="threads",
            concurrency=n_threads,
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        consumer.start()
        if is_ending.is_set():
            return int(consumer.exitcode or 0)
        log.error("no messages can be received", retry_in_s=_RESTART_S)
        if is_ending.wait(_RESTART_S):
            return 0
