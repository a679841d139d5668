"""The operations of runners in Redis: leases, and what a lease's holder may change."""

import contextlib
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Final

from asr_service.errors import Unavailable
from asr_service.jobs.records import MAX_ATTEMPTS, Claim, JobError, JobStatus, new_delivery_id
from asr_service.jobs.stores.damage import DAMAGED, is_damaged
from asr_service.jobs.stores.redis.database import Database
from asr_service.jobs.stores.redis.records import job_of, number_of_attempts
from asr_service.jobs.stores.rules import (
    DAMAGED_PAUSE_S,
    DAMAGED_RETENTION_S,
    EVENTS,
    NEWER_PAUSE_S,
    NEWER_VERSION,
    OTHERS_FIRST_S,
)

_MAX_UNANSWERED: Final = 100


class RunnerOperations(Database):
    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(url, prefix)
        self._unanswered: deque[str] = deque(maxlen=_MAX_UNANSWERED)
        """The tokens of claims whose answers were lost. Redis may have made them: a server that hangs for a while runs
        all commands that it has received. The next claim gives these jobs back, since nobody runs them."""

    def claim(self, runner: str, now: float, lease_s: float) -> Claim | None:
        token, unanswered = secrets.token_hex(16), tuple(self._unanswered)
        try:
            answer = self._run(
                "runners",
                "claim",
                runner=runner,
                now=now,
                others_first=now - OTHERS_FIRST_S,
                token=token,
                lease_until=now + lease_s,
                unanswered=unanswered,
            )
        except Unavailable:
            self._unanswered.append(token)
            raise
        for each in unanswered:
            with contextlib.suppress(ValueError):  # another thread has removed it
                self._unanswered.remove(each)
        if not answer:
            return None
        job = job_of(answer)
        if is_damaged(job):
            self._set_aside(job.id, token, now, is_last=number_of_attempts(answer) >= MAX_ATTEMPTS)
            return None
        if job.is_newer:
            self.retry(job.id, token, now + NEWER_PAUSE_S, NEWER_VERSION, counts=False)
            return None
        return Claim(job, token)

    def _set_aside(self, job_id: str, token: str, now: float, *, is_last: bool) -> None:
        """Put a damaged job back for a while, out of the way of others, or end it after the last attempt."""
        if is_last:
            self.fail(job_id, token, now, DAMAGED, expires_at=now + DAMAGED_RETENTION_S)
        else:
            self.retry(job_id, token, now + DAMAGED_PAUSE_S, DAMAGED)

    def renew(self, job_id: str, token: str, until: float) -> bool:
        return bool(self._run("runners", "renew", id=job_id, token=token, lease_until=until))

    def holds(self, job_id: str, token: str) -> bool:
        return bool(self._run("runners", "holds", id=job_id, token=token))

    def store_segments(
        self,
        job_id: str,
        token: str,
        start: int,
        segments: Sequence[str],
        *,
        resume_key: str,
        audio_s_done: float,
        audio_s_total: float | None,
    ) -> bool:
        return bool(
            self._run(
                "runners",
                "store_segments",
                id=job_id,
                token=token,
                start=start,
                segments=segments,
                resume_key=resume_key,
                audio_s_done=audio_s_done,
                audio_s_total=audio_s_total,
            )
        )

    def succeed(
        self, job_id: str, token: str, now: float, *, audio_s: float, result_bytes: int, expires_at: float
    ) -> bool:
        return bool(
            self._run(
                "runners",
                "succeed",
                id=job_id,
                token=token,
                now=now,
                audio_s=audio_s,
                result_bytes=result_bytes,
                expires_at=expires_at,
                event=EVENTS[JobStatus.SUCCEEDED],
                delivery_id=new_delivery_id(),
            )
        )

    def fail(self, job_id: str, token: str, now: float, error: JobError, *, expires_at: float) -> bool:
        return bool(
            self._run(
                "runners",
                "fail",
                id=job_id,
                token=token,
                now=now,
                error_code=error.code,
                error_message=error.message,
                expires_at=expires_at,
                event=EVENTS[JobStatus.FAILED],
                delivery_id=new_delivery_id(),
            )
        )

    def retry(self, job_id: str, token: str, not_before: float, error: JobError, *, counts: bool = True) -> bool:
        return bool(
            self._run(
                "runners",
                "retry",
                id=job_id,
                token=token,
                not_before=not_before,
                uncounted=None if counts else 1,
                error_code=error.code,
                error_message=error.message,
            )
        )

    def give_back(self, job_id: str, token: str) -> bool:
        return bool(self._run("runners", "give_back", id=job_id, token=token))
