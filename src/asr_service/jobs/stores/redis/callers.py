"""The operations of the API's callers in Redis."""

from collections.abc import Sequence

from asr_service.errors import Unavailable
from asr_service.jobs.records import Job, JobResult, JobStatus, NewJob, OwnerLimits, new_delivery_id
from asr_service.jobs.store import Created, OutcomeUnknown
from asr_service.jobs.stores.redis.database import Database
from asr_service.jobs.stores.redis.records import job_of, new_record
from asr_service.jobs.stores.rules import EVENTS, check_limits
from asr_service.redis_client import is_answer_lost
from asr_service.results.outcomes import idempotency_conflict


class CallerOperations(Database):
    def create(self, new: NewJob, limits: OwnerLimits, now: float) -> Created:
        given = {
            "max_waiting": limits.waiting_jobs,
            "max_kept": limits.kept_jobs,
            "max_bytes": limits.stored_bytes,
        }
        ended = {} if new.result is None else _ended(new.result, now)
        try:
            outcome, *answer = self._run("callers", "create", record=new_record(new, now), **given, **ended)
        except Unavailable as error:
            if is_answer_lost(error):
                raise OutcomeUnknown(error.message) from error
            raise
        if outcome == "conflict":
            raise idempotency_conflict()
        if outcome == "refused":
            n_waiting, n_kept, n_bytes = answer
            check_limits(n_waiting, n_kept, n_bytes, limits)
        return Created(job_of(answer[0]), is_replayed=outcome == "replayed")

    def find_replay(self, owner: str, key: str) -> Job | None:
        return _job_or_none(self._run("callers", "find_replay", owner=owner, key=key))

    def get(self, job_id: str) -> Job | None:
        return _job_or_none(self._run("callers", "get", id=job_id))

    def list(self, owner: str, *, status: JobStatus | None, after: str | None, limit: int) -> Sequence[Job]:
        answer = self._run("callers", "list", owner=owner, status=status, after=after, limit=limit)
        return [job_of(each) for each in answer]

    def segments(self, job_id: str, start: int = 0) -> Sequence[str]:
        found: Sequence[str] = self._run("callers", "segments", id=job_id, start=start)
        return found

    def cancel(self, job_id: str, now: float, expires_at: float) -> Job | None:
        answer = self._run(
            "callers",
            "cancel",
            id=job_id,
            now=now,
            expires_at=expires_at,
            event=EVENTS[JobStatus.CANCELLED],
            delivery_id=new_delivery_id(),
        )
        return _job_or_none(answer)

    def delete(self, job_id: str) -> bool:
        return bool(self._run("callers", "delete", id=job_id))

    def check_limits(self, owner: str, limits: OwnerLimits) -> None:
        n_waiting, n_kept, n_bytes = self._run("callers", "usage", owner=owner)
        check_limits(n_waiting, n_kept, n_bytes, limits)


def _ended(result: JobResult, now: float) -> dict[str, object]:
    return {
        "now": now,
        "audio_s": result.audio_s,
        "result_bytes": result.result_bytes,
        "expires_at": result.expires_at,
        "event": EVENTS[JobStatus.SUCCEEDED],
        "delivery_id": new_delivery_id(),
    }


def _job_or_none(answer: Sequence[str]) -> Job | None:
    return job_of(answer) if answer else None
