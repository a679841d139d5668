"""The operations of the sweeper in Redis."""

from collections.abc import Collection, Sequence

from asr_service.jobs.records import MAX_ATTEMPTS, Job, JobStatus, new_delivery_id
from asr_service.jobs.store import Counts
from asr_service.jobs.stores.redis.database import Database
from asr_service.jobs.stores.redis.records import job_of
from asr_service.jobs.stores.redis.server import clock_skew_s
from asr_service.jobs.stores.rules import EVENTS, RUNNER_LOST


class SweeperOperations(Database):
    def requeue_lapsed(self, now: float, *, retry_delays_s: Sequence[float], expires_at: float) -> Sequence[Job]:
        changed = []
        for lapsed in map(job_of, self._run("sweeping", "lapsed", now=now)):
            is_last = lapsed.attempts >= MAX_ATTEMPTS
            answer = self._run(
                "sweeping",
                "requeue",
                id=lapsed.id,
                now=now,
                not_before=None if is_last else now + retry_delays_s[lapsed.attempts - 1],
                error_code=RUNNER_LOST.code,
                error_message=RUNNER_LOST.message,
                expires_at=expires_at,
                event=EVENTS[JobStatus.FAILED],
                delivery_id=new_delivery_id(),
            )
            if answer:
                changed.append(job_of(answer))
        return changed

    def expire(self, now: float, forget_before: float) -> Sequence[str]:
        changed: Sequence[str] = self._run("sweeping", "expire", now=now, forget_before=forget_before)
        return changed

    def ended(self, job_ids: Collection[str]) -> Collection[str]:
        is_open = set(self._run("sweeping", "open", ids=list(job_ids)))
        return [each for each in job_ids if each not in is_open]

    def counts(self) -> Counts:
        statuses = tuple(JobStatus)
        counts, oldest = self._run("sweeping", "counts", statuses=statuses)
        return Counts(dict(zip(statuses, counts, strict=True)), float(oldest[1]) if oldest else None)

    def files_id(self, offered: str = "") -> str:
        return str(self._run("sweeping", "files_id", offered=offered))

    def clock_skew_s(self) -> float:
        with self._reaching():
            return clock_skew_s(self._client)
