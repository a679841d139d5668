"""Sends the events of jobs to their webhooks."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from asr_service import metrics, tasks
from asr_service.errors import AsrError, Unavailable
from asr_service.formats.json import render_json
from asr_service.jobs.files import FileMissing
from asr_service.jobs.outages import OutageLog
from asr_service.jobs.records import Delivery, Job, JobStatus
from asr_service.jobs.service import Jobs
from asr_service.jobs.times import RunnerTimes
from asr_service.tracing import Attributes, record_linked_span
from asr_service.transcript import codec
from asr_service.webhooks.configuration import WebhookConfiguration
from asr_service.webhooks.delivery import DeliveryAttempt, DeliveryOutcome, deliver, retry_delay_s
from asr_service.webhooks.events import build_message

log = structlog.get_logger(__name__)

_MAX_PARALLEL: Final = 8
_MAX_PER_UNRESPONSIVE_RECEIVER: Final = 2
"""Attempts at a time at a receiver that does not answer: each takes ten seconds, in which the others cannot be made."""
_MAX_UNRESPONSIVE: Final = 1000
_LEASE_S: Final = 60.0
"""Seconds after which an unfinished attempt is made again. An attempt takes at most ten seconds."""
_MAX_PREPARATION_S: Final = 45.0
"""How long after its claim an attempt may begin. Later, another process could make it too."""
_POSTPONED_S: Final = 30.0
"""Time until the next attempt after one that could not be made."""
_UNEXPECTED: Final = DeliveryAttempt(
    DeliveryOutcome.RETRY, None, "Unexpected error. The service's log has the details.", 0.0
)


class WebhookSender:
    """Claims the deliveries that are due and sends them. Every slot has one.

    A delivery reaches its receiver at least once: an attempt whose process ends before it is recorded is made again,
    with the same id.
    """

    def __init__(self, jobs: Jobs, configuration: WebhookConfiguration, times: RunnerTimes) -> None:
        self._jobs = jobs
        self._configuration = configuration
        self._poll_s = times.poll_s
        self._sending: set[asyncio.Task[None]] = set()
        self._n_sending: Counter[str] = Counter()
        """Attempts that are under way, by receiver."""
        self._unresponsive: set[str] = set()
        """Receivers that did not answer the last attempt."""
        self._claiming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send. Without a secret nothing is sent, and deliveries stay due."""
        if self._configuration.keys:
            self._claiming = asyncio.create_task(self._claim_forever())

    def begin_drain(self) -> None:
        """Begin no more attempts."""
        if self._claiming is not None:
            self._claiming.cancel()

    @property
    def busy(self) -> bool:
        """Whether an attempt is under way."""
        return bool(self._sending)

    async def close(self) -> None:
        """Stop. An attempt that is under way is made again by another process."""
        self.begin_drain()
        await tasks.cancel([*self._sending, *([self._claiming] if self._claiming else [])])

    async def _claim_forever(self) -> None:
        outages = OutageLog(log, "no webhook can be claimed")
        while True:
            claimed, claimed_at = None, asyncio.get_running_loop().time()
            with outages.no_errors():
                if len(self._sending) < _MAX_PARALLEL:
                    claimed = await self._jobs.call(self._jobs.store.claim_delivery, time.time(), _LEASE_S)
            if claimed is None:
                await asyncio.sleep(self._poll_s)
                continue
            task = asyncio.create_task(self._send(claimed, claimed_at))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, delivery: Delivery, claimed_at: float) -> None:
        receiver = _receiver(delivery.url)
        with structlog.contextvars.bound_contextvars(job_id=delivery.job_id, webhook_id=delivery.id, receiver=receiver):
            try:
                with self._counted(receiver) as may_send:
                    if may_send:
                        await self._attempt(delivery, claimed_at)
                    else:
                        await self._postpone(delivery)
            except AsrError as error:  # the attempt is made again when its lease has lapsed
                log.warning("webhook attempt not recorded", reason=error.message)
            except Exception:
                log.exception("unexpected error")
                with contextlib.suppress(AsrError):
                    _count(_UNEXPECTED, await self._end(delivery, _UNEXPECTED))

    @contextlib.contextmanager
    def _counted(self, receiver: str) -> Iterator[bool]:
        """Count an attempt while it is under way. Yield False if an unresponsive receiver has enough of them."""
        if receiver in self._unresponsive and self._n_sending[receiver] >= _MAX_PER_UNRESPONSIVE_RECEIVER:
            yield False
            return
        self._n_sending[receiver] += 1
        try:
            yield True
        finally:
            self._n_sending[receiver] -= 1
            if not self._n_sending[receiver]:
                del self._n_sending[receiver]

    async def _attempt(self, delivery: Delivery, claimed_at: float) -> None:
        try:
            job = await self._jobs.call(self._jobs.store.get, delivery.job_id)
            if job is None:  # it was deleted, with its deliveries
                return
            data = await self._data(job)
        except Unavailable as error:
            log.warning("webhook postponed", reason=error.message)
            await self._postpone(delivery)
            return
        if asyncio.get_running_loop().time() - claimed_at > _MAX_PREPARATION_S:
            log.warning("webhook postponed", reason="The transcript could not be read in time.")
            await self._postpone(delivery)
            return
        message = build_message(delivery.id, delivery.url, delivery.event, int(delivery.created_at), data)
        attempt = await deliver(message, keys=self._configuration.keys, allowed=self._configuration.allowed)
        self._note_answer(_receiver(delivery.url), attempt)
        delay_s = await self._end(delivery, attempt)
        _report(job, delivery, attempt, delay_s)

    def _note_answer(self, receiver: str, attempt: DeliveryAttempt) -> None:
        if attempt.status is not None or attempt.outcome is not DeliveryOutcome.RETRY:
            self._unresponsive.discard(receiver)
            return
        if len(self._unresponsive) >= _MAX_UNRESPONSIVE:
            self._unresponsive.clear()
        self._unresponsive.add(receiver)

    async def _postpone(self, delivery: Delivery) -> None:
        """Leave the delivery for later. No attempt was made, so none counts."""
        await self._jobs.call(self._jobs.store.postpone_attempt, delivery, time.time() + _POSTPONED_S)

    async def _end(self, delivery: Delivery, attempt: DeliveryAttempt) -> float | None:
        """Record the end of an attempt. Returns the seconds until the next one; None if none follows."""
        delay_s = retry_delay_s(delivery.attempts) if attempt.outcome is DeliveryOutcome.RETRY else None
        now = time.time()
        await self._jobs.call(
            self._jobs.store.end_attempt,
            delivery,
            due_at=None if delay_s is None else now + delay_s,
            delivered_at=now if attempt.outcome is DeliveryOutcome.DELIVERED else None,
            status=attempt.status,
            error=attempt.error,
        )
        return delay_s

    async def _data(self, job: Job) -> dict[str, Any]:
        """Return the event's data about its job. By default they contain nothing confidential. Raises Unavailable."""
        data: dict[str, Any] = {"id": job.id, "status": job.status, "metadata": dict(job.spec.metadata)}
        if job.error is not None:
            data["error"] = {"code": job.error.code, "message": job.error.message}
        if job.spec.webhook_transcript and job.status is JobStatus.SUCCEEDED:
            data |= await self._jobs.call_files(self._transcript, job.id)
        return data

    def _transcript(self, job_id: str) -> dict[str, Any]:
        """Return the data about a transcript: nothing if it is damaged or has expired. Blocks. Raises Unavailable."""
        try:
            transcript = codec.decode(self._jobs.files.load_transcript(job_id))
        except FileMissing:
            return {}
        except codec.TranscriptUnreadable as error:
            log.warning("a transcript is damaged", job_id=job_id, reason=str(error))
            return {}
        return {"transcript": json.loads(render_json(transcript))}


def _receiver(url: str) -> str:
    """Return the host and port of a webhook, for the log. The rest of its URL may contain a secret."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _count(attempt: DeliveryAttempt, delay_s: float | None) -> str:
    """Count an attempt, after which no other follows if `delay_s` is None. Return its outcome."""
    given_up = attempt.outcome is DeliveryOutcome.RETRY and delay_s is None
    outcome = "given_up" if given_up else attempt.outcome.value
    metrics.WEBHOOK_ATTEMPTS.labels(outcome).inc()
    return outcome


def _report(job: Job, delivery: Delivery, attempt: DeliveryAttempt, delay_s: float | None) -> None:
    outcome = _count(attempt, delay_s)
    attributes: Attributes = {
        "asr.job_id": job.id, "asr.webhook_id": delivery.id, "asr.attempt": delivery.attempts
    }  # fmt: skip
    failed = None if attempt.outcome is DeliveryOutcome.DELIVERED else outcome
    record_linked_span("webhook", job.spec.traceparent, attempt.seconds, attributes, failed=failed)
    number = delivery.attempts
    if attempt.outcome is DeliveryOutcome.DELIVERED:
        log.info("webhook delivered", attempt=number, status=attempt.status, seconds=round(attempt.seconds, 3))
    else:
        log.warning("webhook not delivered", attempt=number, outcome=outcome, reason=attempt.error, retry_in_s=delay_s)
