"""What every store of jobs promises. The suite runs on each of them."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from asr_service.engine.request_options import RequestOptions
from asr_service.errors import IdempotencyConflict, JobLimit
from asr_service.jobs.records import (
    MAX_ATTEMPTS,
    Claim,
    Idempotency,
    Job,
    JobError,
    JobPriority,
    JobResult,
    JobSpec,
    JobStatus,
    NewJob,
    OwnerLimits,
    new_job_id,
)
from asr_service.jobs.store import Created, JobStore
from asr_service.webhooks.events import EventType

PLENTY = OwnerLimits(waiting_jobs=1000, stored_bytes=10**12)
SPEC = JobSpec(RequestOptions(language="pt"), output={"response_format": "srt"}, metadata={"call": "é"})
ERROR = JobError("inference_failed", "It failed.")
FAR = 1e12
LEASE_S = 10.0
DELAYS_S = (5.0, 30.0)


def add(
    store: JobStore, owner: str = "", *, at: float = 0.0, spec: JobSpec = SPEC, limits: OwnerLimits = PLENTY
) -> Job:
    return store.create(NewJob(new_job_id(at), owner, spec, audio_bytes=100, audio_s=9.0), limits, at).job


def claim(store: JobStore, at: float = 0.0, runner: str = "a") -> Claim:
    found = store.claim(runner, at, LEASE_S)
    assert found is not None
    return found


def get(store: JobStore, job_id: str) -> Job:
    job = store.get(job_id)
    assert job is not None
    return job


def write(store: JobStore, held: Claim, start: int, *segments: str, key: str = "k") -> bool:
    return store.store_segments(
        held.job.id, held.token, start, segments, resume_key=key, audio_s_done=7.5, audio_s_total=9.0
    )


def succeed(store: JobStore, held: Claim, at: float = 1.0, expires_at: float = FAR) -> bool:
    return store.succeed(held.job.id, held.token, at, audio_s=9.5, result_bytes=40, expires_at=expires_at)


def test_a_job_is_read_back_as_it_was_created(store, open_store):
    """By another process too."""
    job = add(store, "alice", at=5.0)
    assert job == Job(job.id, "alice", SPEC, JobStatus.QUEUED, created_at=5.0, audio_s_total=9.0, audio_bytes=100)
    assert store.get(job.id) == open_store().get(job.id) == job
    assert store.get("job_none") is None


def test_a_job_whose_result_is_known_has_succeeded_at_once(store):
    """With an event for its webhook. It counts for its owner as one that ran, and no runner gets it."""
    spec, key = replace(SPEC, webhook_url="https://example.com/hook"), Idempotency("key", b"d")
    new = NewJob(new_job_id(), "alice", spec, 0, 9.0, key, JobResult(9.5, 40, expires_at=FAR))
    job = store.create(new, PLENTY, 3.0).job
    assert (job.status, job.started_at, job.finished_at, job.expires_at) == (JobStatus.SUCCEEDED, 3.0, 3.0, FAR)
    assert (job.attempts, job.audio_s_done, job.audio_s_total) == (0, 9.5, 9.5)
    assert store.claim("a", 4.0, LEASE_S) is None
    (delivery,) = store.deliveries(job.id)
    assert (delivery.event, delivery.due_at) == (EventType.SUCCEEDED, 3.0)
    assert store.create(replace(new, id=new_job_id()), PLENTY, 5.0) == Created(job, is_replayed=True)
    with pytest.raises(JobLimit, match="ASR_JOBS_MAX_BYTES"):
        add(store, "alice", limits=OwnerLimits(waiting_jobs=2, stored_bytes=139))
    assert store.delete(job.id)


def test_a_job_runs_and_ends(store):
    """Each step is in its record, and its segments go when it has ended: the transcript has them."""
    add(store)
    held = claim(store, 1.0)
    assert (held.job.status, held.job.attempts, held.job.started_at) == (JobStatus.RUNNING, 1, 1.0)
    assert store.claim("b", 1.0, LEASE_S) is None
    assert write(store, held, 0, "zero", "one")
    assert write(store, held, 2, "two")
    assert list(store.segments(held.job.id)) == ["zero", "one", "two"]
    assert list(store.segments(held.job.id, 2)) == ["two"]
    job = get(store, held.job.id)
    assert (job.audio_s_done, job.audio_s_total, job.resume_key) == (7.5, 9.0, "k")
    assert succeed(store, held, 2.0, expires_at=50.0)
    job = get(store, held.job.id)
    assert (job.status, job.finished_at, job.expires_at, job.audio_s_done) == (JobStatus.SUCCEEDED, 2.0, 50.0, 9.5)
    assert not store.segments(job.id)


def test_segments_are_replaced_from_the_first_new_one(store):
    """A runner that goes on after a crash decodes the last window again."""
    add(store)
    held = claim(store)
    write(store, held, 0, "zero", "one", "two")
    write(store, held, 1, "one again")
    assert list(store.segments(held.job.id)) == ["zero", "one again"]


@pytest.mark.parametrize("loss", ["lapsed", "cancelled", "given back"])
def test_a_runner_without_its_lease_changes_nothing(store, loss):
    """Not even after another runner has claimed the job."""
    add(store)
    held = claim(store, 0.0)
    if loss == "lapsed":
        store.requeue_lapsed(LEASE_S + 1, retry_delays_s=DELAYS_S, expires_at=FAR)
    elif loss == "cancelled":
        store.cancel(held.job.id, 1.0, FAR)
    else:
        store.give_back(held.job.id, held.token)
    successor = store.claim("b", 100.0, LEASE_S)
    before = get(store, held.job.id)
    assert not store.holds(held.job.id, held.token)
    assert not store.renew(held.job.id, held.token, FAR)
    assert not write(store, held, 0, "zero")
    assert not succeed(store, held)
    assert not store.fail(held.job.id, held.token, 1.0, ERROR, expires_at=FAR)
    assert not store.retry(held.job.id, held.token, 0.0, ERROR)
    assert not store.give_back(held.job.id, held.token)
    assert get(store, held.job.id) == before
    assert (successor is None) == (loss == "cancelled")


def test_a_job_is_claimed_once_however_many_runners_ask(open_store):
    """The runners are processes with connections of their own."""
    stores = [open_store() for _ in range(4)]
    ids = {add(stores[0]).id for _ in range(20)}

    def claim_all(store: JobStore) -> list[str]:
        found = []
        while (held := store.claim("x", 1.0, LEASE_S)) is not None:
            found.append(held.job.id)
        return found

    with ThreadPoolExecutor(4) as pool:
        claimed = [job_id for found in pool.map(claim_all, stores) for job_id in found]
    assert Counter(claimed) == dict.fromkeys(ids, 1)


def test_a_renewed_lease_does_not_lapse(store):
    """A lapsed one does, and the job waits five seconds for its next attempt."""
    add(store)
    held = claim(store, 0.0)
    assert store.renew(held.job.id, held.token, 30.0)
    assert not store.requeue_lapsed(20.0, retry_delays_s=DELAYS_S, expires_at=FAR)
    assert store.holds(held.job.id, held.token)
    (job,) = store.requeue_lapsed(31.0, retry_delays_s=DELAYS_S, expires_at=FAR)
    assert (job.id, job.status, job.attempts) == (held.job.id, JobStatus.QUEUED, 1)
    assert store.claim("b", 35.0, LEASE_S) is None
    assert claim(store, 36.0, "b").job.attempts == 2


def test_a_job_that_ends_its_runners_fails_after_the_last_attempt(store):
    """Its record says why. The segments of earlier attempts are kept meanwhile."""
    add(store)
    now = 0.0
    for _ in range(MAX_ATTEMPTS - 1):
        held = claim(store, now, f"runner at {now}")
        write(store, held, 0, "zero")
        store.requeue_lapsed(now + LEASE_S + 1, retry_delays_s=DELAYS_S, expires_at=FAR)
        assert list(store.segments(held.job.id)) == ["zero"]
        now += 100
    held = claim(store, now, "last")
    (job,) = store.requeue_lapsed(now + LEASE_S + 1, retry_delays_s=DELAYS_S, expires_at=777.0)
    assert (job.status, job.attempts, job.expires_at) == (JobStatus.FAILED, MAX_ATTEMPTS, 777.0)
    assert job.error is not None
    assert job.error.code == "runner_lost"


def test_a_failed_attempt_is_repeated_elsewhere_first(store):
    """The runner at which it failed gets it only if no other has taken it."""
    add(store)
    held = claim(store, 0.0, "a")
    assert store.retry(held.job.id, held.token, 5.0, ERROR)
    job = get(store, held.job.id)
    assert (job.status, job.error) == (JobStatus.QUEUED, ERROR)
    assert store.claim("b", 4.0, LEASE_S) is None
    assert store.claim("a", 6.0, LEASE_S) is None
    other = claim(store, 6.0, "b")
    assert other.job.attempts == 2
    assert store.retry(other.job.id, other.token, 7.0, ERROR)
    assert claim(store, 60.0, "b").job.attempts == 3


def test_a_failed_attempt_may_not_count(store):
    """The job waits, and its caller sees why."""
    add(store)
    for at in range(0, 50, 10):
        held = claim(store, at, f"runner at {at}")
        assert held.job.attempts == 1
        assert store.retry(held.job.id, held.token, at + 5, ERROR, counts=False)
        assert (get(store, held.job.id).status, get(store, held.job.id).error) == (JobStatus.QUEUED, ERROR)
        assert store.claim("b", at + 4, LEASE_S) is None


def test_success_after_a_failed_attempt_leaves_no_error(store):
    """The record of a job that succeeded has none."""
    add(store)
    held = claim(store)
    store.retry(held.job.id, held.token, 0.0, ERROR)
    assert succeed(store, claim(store, 60.0))
    assert get(store, held.job.id).error is None


def test_an_attempt_that_is_given_back_does_not_count(store):
    """A drain is not the job's fault. The next runner has it at once."""
    add(store)
    for _ in range(MAX_ATTEMPTS + 2):
        held = claim(store, 1.0)
        assert held.job.attempts == 1
        assert store.give_back(held.job.id, held.token)


def test_normal_jobs_go_before_low_ones_and_the_owners_in_turn(store):
    """A thousand jobs of one owner do not hold up another's. Of new owners, the one with the oldest job is first."""
    low = add(store, "carol", at=0.0, spec=replace(SPEC, priority=JobPriority.LOW))
    alice = [add(store, "alice", at=at) for at in (1.0, 2.0, 3.0)]
    bob = add(store, "bob", at=0.5)
    order = [claim(store, 10.0 + n).job.id for n in range(5)]
    assert order == [bob.id, alice[0].id, alice[1].id, alice[2].id, low.id]


def test_jobs_are_listed_by_owner_the_newest_first(store):
    """In pages, and by status."""
    jobs = [add(store, "alice", at=at) for at in (1.0, 2.0, 3.0)]
    add(store, "bob", at=4.0)
    claim(store, 10.0)

    def listed(status: JobStatus | None = None, after: str | None = None, limit: int = 10) -> list[str]:
        return [job.id for job in store.list("alice", status=status, after=after, limit=limit)]

    assert listed() == [jobs[2].id, jobs[1].id, jobs[0].id]
    assert listed(limit=2) == [jobs[2].id, jobs[1].id]
    assert listed(after=jobs[1].id) == [jobs[0].id]
    assert listed(JobStatus.RUNNING) == [jobs[0].id]
    assert listed(JobStatus.QUEUED, after=jobs[2].id) == [jobs[1].id]


def test_only_open_jobs_are_cancelled_and_only_ended_ones_deleted(store):
    """So a transcript is never lost by a cancellation that came late."""
    job = add(store)
    assert not store.delete(job.id)
    cancelled = store.cancel(job.id, 3.0, 9.0)
    assert cancelled is not None
    assert (cancelled.status, cancelled.finished_at, cancelled.expires_at) == (JobStatus.CANCELLED, 3.0, 9.0)
    assert store.cancel(job.id, 4.0, 9.0) is None
    assert store.delete(job.id)
    assert store.get(job.id) is None
    assert not store.delete(job.id)
    assert store.cancel(job.id, 5.0, 9.0) is None


def test_an_idempotency_key_makes_one_job(open_store):
    """For each owner, however many processes are asked at once. Another digest is a conflict."""
    stores = [open_store() for _ in range(4)]

    def create(store: JobStore, owner: str = "alice", digest: bytes = b"d") -> tuple[str, bool]:
        new = NewJob(new_job_id(), owner, SPEC, 100, idempotency=Idempotency("key", digest))
        created = store.create(new, PLENTY, 0.0)
        return created.job.id, created.is_replayed

    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(create, stores))
    assert len({job_id for job_id, _ in created}) == 1
    assert Counter(is_replayed for _, is_replayed in created) == {False: 1, True: 3}
    found = stores[0].find_replay("alice", "key")
    assert found is not None
    assert found.id == created[0][0]
    assert create(stores[0], "bob") != created[0]
    with pytest.raises(IdempotencyConflict):
        create(stores[1], digest=b"other")


def test_the_limits_of_an_owner(store):
    """On waiting jobs, and on the bytes of all. What has ended has no recording any more, but a transcript."""
    few = OwnerLimits(waiting_jobs=2, stored_bytes=250)
    add(store, "alice", limits=few)
    add(store, "alice", limits=few)
    with pytest.raises(JobLimit, match="ASR_JOBS_MAX_WAITING"):
        add(store, "alice", limits=few)
    with pytest.raises(JobLimit):
        store.check_limits("alice", few)
    add(store, "bob", at=1.0, limits=few)
    held = claim(store, 2.0)
    with pytest.raises(JobLimit, match="ASR_JOBS_MAX_BYTES"):
        add(store, "alice", limits=few)
    assert succeed(store, held)
    add(store, "alice", limits=few)  # 100 + 40 + 100 bytes


def test_the_number_of_an_owners_jobs_is_limited(store):
    """Also of those that have ended: their records take memory. A deleted one makes room."""
    few = replace(PLENTY, kept_jobs=2)
    ended = add(store, "alice", limits=few)
    store.cancel(ended.id, 1.0, 10.0)
    add(store, "alice", limits=few)
    for refused in (lambda: add(store, "alice", limits=few), lambda: store.check_limits("alice", few)):
        with pytest.raises(JobLimit, match="ASR_JOBS_MAX_KEPT"):
            refused()
    add(store, "bob", limits=few)
    assert store.delete(ended.id)
    add(store, "alice", limits=few)


def test_what_has_ended_expires_and_is_forgotten_later(store):
    """The files of both are to be deleted. What has not ended stays."""
    waiting = add(store)
    ended = add(store)
    store.cancel(ended.id, 1.0, 10.0)
    assert list(store.expire(9.0, -FAR)) == []
    assert list(store.expire(11.0, -FAR)) == [ended.id]
    assert get(store, ended.id).status is JobStatus.EXPIRED
    assert list(store.expire(12.0, -FAR)) == []
    assert list(store.expire(FAR, 11.0)) == [ended.id]
    assert store.get(ended.id) is None
    assert get(store, waiting.id).status is JobStatus.QUEUED


def test_the_end_of_a_job_and_the_event_for_its_webhook_are_one_step(store):
    """One event for each end, and none for what goes on or has no webhook."""
    spec = replace(SPEC, webhook_url="https://example.com/hook")
    ends: dict[EventType, Callable[[Claim], object]] = {
        EventType.SUCCEEDED: lambda held: succeed(store, held),
        EventType.FAILED: lambda held: store.fail(held.job.id, held.token, 1.0, ERROR, expires_at=FAR),
        EventType.CANCELLED: lambda held: store.cancel(held.job.id, 1.0, FAR),
    }
    for event, end in ends.items():
        add(store, spec=spec)
        held = claim(store)
        assert not store.deliveries(held.job.id)
        end(held)
        (delivery,) = store.deliveries(held.job.id)
        assert (delivery.event, delivery.url, delivery.due_at, delivery.attempts) == (event, spec.webhook_url, 1.0, 0)
    add(store)
    held = claim(store)
    succeed(store, held)
    assert not store.deliveries(held.job.id)


def test_a_delivery_is_attempted_by_one_and_again_when_it_is_due(store, open_store):
    """An attempt that is never ended is made again after its lease, and its late end changes nothing."""
    add(store, spec=replace(SPEC, webhook_url="https://example.com/"))
    succeed(store, held := claim(store), at=1.0)
    assert store.claim_delivery(0.5, LEASE_S) is None
    lost = store.claim_delivery(2.0, LEASE_S)
    assert (lost.job_id, lost.attempts) == (held.job.id, 1)
    assert open_store().claim_delivery(2.0, LEASE_S) is None
    second = open_store().claim_delivery(2.0 + LEASE_S, LEASE_S)
    assert (second.id, second.attempts) == (lost.id, 2)
    ended = {"delivered_at": None, "status": 503, "error": "busy"}
    assert not store.end_attempt(lost, due_at=None, **ended)
    assert store.end_attempt(second, due_at=50.0, **ended)
    assert store.claim_delivery(49.0, LEASE_S) is None
    third = store.claim_delivery(50.0, LEASE_S)
    assert store.end_attempt(third, due_at=None, delivered_at=51.0, status=200, error=None)
    assert store.claim_delivery(FAR, LEASE_S) is None
    (kept,) = store.deliveries(held.job.id)
    assert (kept.attempts, kept.delivered_at, kept.last_status, kept.last_error) == (3, 51.0, 200, None)


def test_an_attempt_that_was_not_made_does_not_count(store, open_store):
    """A process that was too late changes nothing."""
    add(store, spec=replace(SPEC, webhook_url="https://example.com/"))
    succeed(store, claim(store), at=1.0)
    lost = store.claim_delivery(2.0, LEASE_S)
    second = open_store().claim_delivery(2.0 + LEASE_S, LEASE_S)
    assert not store.postpone_attempt(lost, 20.0)
    assert store.postpone_attempt(second, 50.0)
    assert not store.postpone_attempt(second, 60.0)
    assert store.claim_delivery(49.0, LEASE_S) is None
    again = store.claim_delivery(50.0, LEASE_S)
    assert again.attempts == second.attempts
    assert store.end_attempt(again, due_at=None, delivered_at=51.0, status=200, error=None)
    assert not store.postpone_attempt(again, 60.0)
    assert store.claim_delivery(FAR, LEASE_S) is None


def test_the_clock_of_the_store_is_that_of_this_machine(store):
    """A sweeper with another clock would end jobs too early."""
    assert abs(store.clock_skew_s()) < 5


def test_jobs_are_counted(store):
    """For the metrics: every status, and the age of the oldest that waits."""
    assert store.counts().oldest_waiting_at is None
    open_job, ended = add(store, at=3.0), add(store, at=4.0)
    store.cancel(ended.id, 5.0, FAR)
    counts = store.counts()
    assert counts.by_status == dict.fromkeys(JobStatus, 0) | {JobStatus.QUEUED: 1, JobStatus.CANCELLED: 1}
    assert counts.oldest_waiting_at == 3.0
    assert list(store.ended([open_job.id, ended.id, "job_none"])) == [ended.id, "job_none"]
