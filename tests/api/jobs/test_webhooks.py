"""Events of jobs that end, at a real receiver."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openai import OpenAI
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from api.conftest import fresh
from api.jobs.client import JobClient
from api.jobs.conftest import TIMES
from api.live import Live, serving
from asr_service.errors import Unavailable
from asr_service.jobs import webhooks
from asr_service.jobs.stores.directory import DirectoryFiles
from asr_service.jobs.stores.sqlite import SqliteJobStore
from asr_service.webhooks import delivery
from asr_service.webhooks.signing import new_secret
from waiting import until
from webhooks.receiver import Receiver, receiving

SECRET = new_secret()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings: dict[str, Any] = {"webhook_secret": SECRET, "webhook_allow_networks": "127.0.0.0/8"}
    with serving(job_times=TIMES, state_dir=tmp_path_factory.mktemp("state"), **settings) as running:
        yield running


@pytest.fixture
def jobs(live: Live) -> Iterator[JobClient]:
    for each in fresh(live):
        yield JobClient(each)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "RETRY_DELAYS_S", (0, 0.05, 0.1, 0.1, 0.1))


def url(receiver: Receiver) -> str:
    return f"http://127.0.0.1:{receiver.port}/hook"


def settled(jobs: JobClient, job_id: str) -> dict[str, Any]:
    """Wait until no attempt follows, and return the one delivery."""

    def found() -> dict[str, Any] | None:
        deliveries = jobs.show(job_id)["deliveries"]
        return deliveries[0] if deliveries and deliveries[0]["next_attempt_at"] is None else None

    return until(found, what="the end of the delivery")


def test_a_job_that_succeeds_sends_one_signed_event(jobs: JobClient, receiver: Receiver) -> None:
    """OpenAI's SDK verifies it. It has no word of the transcript."""
    job_id = jobs.accepted(webhook_url=url(receiver), metadata='{"call": "7"}')
    done = settled(jobs, job_id)
    [body], [headers] = receiver.bodies, receiver.headers
    OpenAI(api_key="none").webhooks.verify_signature(body.decode(), headers, secret=SECRET)
    event = json.loads(body)
    assert event["type"] == done["type"] == "transcription.job.succeeded"
    assert event["id"] == headers["webhook-id"] == done["id"]
    assert event["data"] == {"id": job_id, "status": "succeeded", "metadata": {"call": "7"}}
    assert (done["attempts"], done["last_status"], done["last_error"]) == (1, 204, None)
    assert done["delivered_at"] is not None


def test_the_event_has_the_transcript_on_request(jobs: JobClient, receiver: Receiver) -> None:
    job_id = jobs.accepted(webhook_url=url(receiver), webhook_transcript="true", response_format="srt")
    settled(jobs, job_id)
    stored = jobs.transcript(job_id, response_format="json").json()
    assert json.loads(receiver.bodies[0])["data"]["transcript"] == stored


def test_a_cancelled_job_sends_its_event(jobs: JobClient, receiver: Receiver) -> None:
    release = threading.Event()
    jobs.model.before = lambda _: release.wait(20)
    job_id = jobs.accepted(webhook_url=url(receiver))
    jobs.reaches(job_id, "running")
    assert jobs.delete(job_id).status_code == 200
    release.set()
    settled(jobs, job_id)
    assert json.loads(receiver.bodies[0])["type"] == "transcription.job.cancelled"


@pytest.mark.usefixtures("impatient")
def test_a_receiver_that_recovers_gets_the_same_event_again(jobs: JobClient, receiver: Receiver) -> None:
    receiver.status = 503
    job_id = jobs.accepted(webhook_url=url(receiver))
    until(lambda: len(receiver.bodies) >= 2, what="a second attempt")
    receiver.status = 200
    done = settled(jobs, job_id)
    assert done["last_status"] == 200
    assert done["attempts"] == len(receiver.bodies)
    assert len({headers["webhook-id"] for headers in receiver.headers}) == len(set(receiver.bodies)) == 1


def test_a_receiver_that_is_down_for_an_hour_gets_the_event_once(
    jobs: JobClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real delays, on a clock that the test moves: the fifth attempt is made after more than an hour."""
    moved_s = [0.0]
    monkeypatch.setattr(webhooks, "time", SimpleNamespace(time=lambda: time.time() + moved_s[0]))
    receiver.status = 503
    job_id = jobs.accepted(webhook_url=url(receiver))

    def follows_after(delay_s: float) -> bool:
        """Return whether an attempt is recorded, and the next one follows after this delay."""
        deliveries = jobs.show(job_id)["deliveries"]
        due_in_s = ((deliveries and deliveries[0]["next_attempt_at"]) or 0.0) - time.time() - moved_s[0]
        return bool(delay_s * 0.55 < due_in_s < delay_s * 1.15)  # the lease of an attempt is 60 s

    for number, delay_s in enumerate(delivery.RETRY_DELAYS_S[1:], start=1):
        until(lambda delay_s=delay_s: follows_after(delay_s), what=f"attempt {number}")  # type: ignore[misc]
        receiver.status = 204 if number == 4 else 503
        moved_s[0] += delay_s * 1.1 + 1
    done = settled(jobs, job_id)
    assert moved_s[0] > 3600
    assert (done["attempts"], done["last_status"], len(receiver.bodies)) == (5, 204, 5)
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 1


@pytest.mark.usefixtures("impatient")
def test_a_delivery_that_fails_five_times_is_listed_as_failed(jobs: JobClient, receiver: Receiver) -> None:
    receiver.status = 500
    before = attempts(jobs)
    done = settled(jobs, jobs.accepted(webhook_url=url(receiver)))
    assert (done["attempts"], done["delivered_at"], done["last_status"]) == (5, None, 500)
    assert len(receiver.bodies) == 5
    until(lambda: attempts(jobs) - before == Counter(retry=4, given_up=1), what="the counts")


@pytest.mark.usefixtures("impatient")
def test_the_log_names_a_receiver_that_does_not_answer(jobs: JobClient, receiver: Receiver) -> None:
    """An operator learns which one, by its host and port. The rest of the URL may be a secret."""
    receiver.status = 503
    with capture_logs(processors=[merge_contextvars]) as lines:
        job_id = jobs.accepted(webhook_url=f"{url(receiver)}/T0KEN?sig=T0KEN")
        settled(jobs, job_id)
    failed = until(lambda: [each for each in lines if each["event"] == "webhook not delivered"], what="the lines")
    assert {(each["receiver"], each["job_id"]) for each in failed} == {(f"127.0.0.1:{receiver.port}", job_id)}
    assert "T0KEN" not in str(lines)


def attempts(jobs: JobClient) -> Counter[str]:
    """Return the attempts to deliver webhooks by outcome, as /metrics has them."""
    found = re.findall(
        r'^asr_webhook_attempts_total{outcome="(\w+)"} (\d+)', jobs.live.get("/metrics").text, re.MULTILINE
    )
    return Counter({outcome: int(count) for outcome, count in found})


def test_a_delivery_that_the_receiver_refuses_is_not_repeated(jobs: JobClient, receiver: Receiver) -> None:
    receiver.status = 410
    done = settled(jobs, jobs.accepted(webhook_url=url(receiver)))
    assert (done["attempts"], done["last_status"]) == (1, 410)
    assert done["last_error"] == "The receiver answered with status 410."


def test_a_delivery_survives_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    """The next attempt keeps its time."""
    receiver.status = 503
    settings: dict[str, Any] = {
        "webhook_secret": SECRET, "webhook_allow_networks": "127.0.0.0/8", "state_dir": tmp_path
    }  # fmt: skip
    with serving(job_times=TIMES, **settings) as first:
        client = JobClient(first)
        job_id = client.accepted(webhook_url=url(receiver))
        until(lambda: receiver.bodies, what="the first attempt")
        until(lambda: client.show(job_id)["deliveries"][0]["last_status"], what="its record")
        (before,) = client.show(job_id)["deliveries"]
    with serving(job_times=TIMES, **settings) as second:
        assert JobClient(second).show(job_id)["deliveries"] == [before]
    assert before["next_attempt_at"] is not None


def test_an_attempt_that_cannot_be_recorded_is_made_again(jobs, receiver, monkeypatch):
    """The store fails once, as with a full disk. The log line has the job's id, and the event arrives again."""
    end_attempt, failures = SqliteJobStore.end_attempt, [Unavailable("The disk is full.")]

    def failing_once(*given: Any, **named: Any) -> None:
        if failures:
            raise failures.pop()
        end_attempt(*given, **named)

    monkeypatch.setattr(SqliteJobStore, "end_attempt", failing_once)
    monkeypatch.setattr(webhooks, "_LEASE_S", 0.2)
    with capture_logs(processors=[merge_contextvars]) as lines:
        job_id = jobs.accepted(webhook_url=url(receiver))
        assert settled(jobs, job_id)["attempts"] >= 2  # a slow machine needs longer than the short lease
    assert len(receiver.bodies) >= 2
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 1
    (line,) = [each for each in lines if each["event"] == "webhook attempt not recorded"]
    assert (line["job_id"], line["reason"]) == (job_id, "The disk is full.")


@pytest.mark.parametrize("fault", ["files", "time"])
def test_an_attempt_that_the_service_cannot_make_does_not_count(jobs, receiver, monkeypatch, fault):
    """The files cannot be used, or the transcript comes so late that another process may have begun the attempt."""
    monkeypatch.setattr(webhooks, "_POSTPONED_S", 0.05)
    with capture_logs() as lines:
        with monkeypatch.context() as patch:
            if fault == "files":
                patch.setattr(webhooks.WebhookSender, "_transcript", _failing)
            else:
                patch.setattr(webhooks, "_MAX_PREPARATION_S", 0.0)
            job_id = jobs.accepted(webhook_url=url(receiver), webhook_transcript="true")
            until(lambda: len([each for each in lines if each["event"] == "webhook postponed"]) >= 6)
            assert receiver.bodies == []
        done = settled(jobs, job_id)
    assert (done["attempts"], done["last_status"], len(receiver.bodies)) == (1, 204, 1)
    assert "transcript" in json.loads(receiver.bodies[0])["data"]


def _failing(*_: object) -> None:
    raise Unavailable("The service cannot read files.")


def test_a_damaged_transcript_is_left_out_of_the_event(jobs, receiver, monkeypatch):
    """The event itself arrives."""
    monkeypatch.setattr(DirectoryFiles, "load_transcript", lambda *_: b"damaged")
    done = settled(jobs, jobs.accepted(webhook_url=url(receiver), webhook_transcript="true"))
    assert (done["attempts"], done["last_status"]) == (1, 204)
    assert "transcript" not in json.loads(receiver.bodies[0])["data"]


@pytest.mark.usefixtures("impatient")
def test_an_unexpected_error_ends_after_five_attempts(jobs, receiver, monkeypatch):
    """It is shown at the job, and no attempt is made for ever."""

    def failing(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(webhooks, "render_json", failing)
    before = attempts(jobs)
    done = settled(jobs, jobs.accepted(webhook_url=url(receiver), webhook_transcript="true"))
    assert (done["attempts"], done["delivered_at"], receiver.bodies) == (5, None, [])
    until(lambda: attempts(jobs) - before == Counter(retry=4, given_up=1), what="the counts")
    assert done["last_error"] == "Unexpected error. The service's log has the details."


def test_a_receiver_that_does_not_answer_leaves_room_for_others(jobs, receiver, monkeypatch):
    """It has two of the eight attempts that a slot makes at a time."""
    receiver.delay = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "_TIMEOUT_S", 0.2)
        first = jobs.accepted(webhook_url=url(receiver))
        until(lambda: any(each["last_error"] for each in jobs.show(first)["deliveries"]), what="its first attempt")
    waiting = [jobs.accepted(webhook_url=url(receiver)) for _ in range(4)]
    for job_id in waiting:
        jobs.reaches(job_id, "succeeded")
    with receiving() as other:
        assert settled(jobs, jobs.accepted(webhook_url=url(other)))["last_status"] == 204
    assert len(receiver.bodies) == 3
    assert {each["attempts"] for job_id in waiting for each in jobs.show(job_id)["deliveries"]} == {0, 1}
    receiver.delay.set()
