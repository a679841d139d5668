"""Job workers: real ones, with a real Redis and a service with a fake model. Whatever is killed, each job ends once."""

import base64
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from jobs.job_worker import JobWorker, working
from jobs.test_crashes import SOUND, done_s, kill, segments, send, show
from redis_server import RedisServer, running_redis
from serving.harness import Service, running
from waiting import until
from webhooks.receiver import Receiver, receiving

SECRET = "whsec_" + base64.b64encode(os.urandom(32)).decode()


class Installation:
    """A service that leaves its jobs to workers, its Redis, a receiver of webhooks, and the workers of one test."""

    def __init__(self, directory: Path, redis: RedisServer, receiver: Receiver, stack: ExitStack) -> None:
        self.redis = redis
        self.receiver = receiver
        self.workers = ExitStack()
        self._directory = directory
        self._n_workers = 0
        (directory / "files").mkdir()
        self._environ = {
            "ASR_JOBS_URL": redis.url,
            "ASR_JOBS_FILES": str(directory / "files"),
            "ASR_WEBHOOK_SECRET": SECRET,
            "ASR_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        given = {"ASR_JOBS_RUNNER": "workers", "ASR_CHUNK_LENGTH_S": "15", "FAKE_MODEL": "0.05"}
        started = running(directory / "service", {"heartbeat_s": 5}, **self._environ, **given)
        self.service: Service = stack.enter_context(started).ready()

    def worker(self, **environ: str) -> JobWorker:
        self._n_workers += 1
        given = {"ASR_SERVICE_URL": self.service.url, **self._environ, **environ}
        return self.workers.enter_context(working(self._directory / f"worker-{self._n_workers}", **given))

    def submit(self) -> str:
        response = httpx.post(
            f"{self.service.url}/jobs",
            params={"vad_filter": "false", "webhook_url": f"http://127.0.0.1:{self.receiver.port}/"},
            content=SOUND,
            headers={"content-type": "audio/wav"},
            timeout=60,
        )
        assert response.status_code == 202, response.text
        job_id: str = response.json()["id"]
        return job_id

    def waits_until_done(self, job_id: str, seconds: float) -> None:
        until(lambda: done_s(self.service, job_id) > seconds, what="some segments")

    def waits_for_end(self, job_id: str) -> None:
        def has_ended() -> bool:
            job = show(self.service, job_id)
            assert job["status"] != "failed", job
            return bool(job["status"] == "succeeded")

        until(has_ended, what="the end of the job")

    def n_decoded(self) -> float:
        return self.service.metric('asr_batch_size_sum{stage="generate"}') or 0


@pytest.fixture(scope="module")
def _installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("installation")
    with running_redis(directory / "redis") as redis, receiving() as receiver, ExitStack() as stack:
        yield Installation(directory, redis, receiver, stack)


@pytest.fixture
def installation(_installation: Installation) -> Iterator[Installation]:
    with _installation.workers:
        yield _installation
    _installation.service.decodes_only(None)


def test_a_job_waits_for_a_worker(installation):
    """It is run although the broker has lost its message. The worker's metrics count it."""
    job_id = installation.submit()
    with installation.redis.client() as client:
        until(lambda: client.llen("asr:celery:jobs") == 1, what="a message")
        client.delete("asr:celery:jobs")
    assert show(installation.service, job_id)["status"] == "queued"
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    installation.worker(ASR_WORKER_PORT=str(port))
    installation.waits_for_end(job_id)
    counted = 'asr_job_attempts_total{outcome="succeeded"} 1.0'
    until(lambda: counted in httpx.get(f"http://127.0.0.1:{port}/metrics").text, what="the count")


def test_each_job_ends_once_whatever_is_killed(installation):
    """Its worker, then the slot that runs it, then Redis.

    It continues after its last stored segment, and has one right transcript and one signed webhook.
    """
    service, receiver, n_before = installation.service, installation.receiver, installation.n_decoded()
    first = installation.worker()
    service.decodes_only(12)
    job_id = installation.submit()
    installation.waits_until_done(job_id, 60)
    first.kill()
    installation.worker()
    until(lambda: show(service, job_id)["attempts"] == 2, what="the second attempt")
    service.decodes_only(12)
    installation.waits_until_done(job_id, 120)
    kill(service, workers_only=True)
    service.decodes_only(None)
    installation.waits_for_end(job_id)
    job = show(service, job_id)
    assert (job["attempts"], job["error"], job["progress"]["audio_s_done"]) == (3, None, 240)
    n_decoded = installation.n_decoded() - n_before
    expected = send(service, "/transcribe")["segments"]
    assert segments(service, job_id) == expected
    # Of all attempts. If each began at the start, they would decode the first quarter and the first half again.
    assert n_decoded < len(expected) * 1.75

    service.decodes_only(12)
    second_id = installation.submit()
    installation.waits_until_done(second_id, 60)
    installation.redis.kill()
    service.decodes_only(None)
    installation.redis.start()
    installation.waits_for_end(second_id)
    assert segments(service, second_id) == expected

    ids = [job_id, second_id]
    until(lambda: set(ids) <= set(ended(receiver)), what="the webhooks")
    assert [ended(receiver).count(each) for each in ids] == [1, 1]
    webhooks = OpenAI(api_key="none", webhook_secret=SECRET).webhooks
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        webhooks.verify_signature(body, headers)


def ended(receiver: Receiver) -> list[str]:
    return [json.loads(body)["data"]["id"] for body in receiver.bodies]


def test_jobs_end_while_redis_has_no_free_memory(installation):
    """It takes no messages then, and Celery gives up. The worker does not, since the jobs that end free the memory."""
    job_id = installation.submit()
    with installation.redis.client() as client:
        client.config_set("maxmemory", 1)
        try:
            worker = installation.worker()
            installation.waits_for_end(job_id)
            until(lambda: worker.lines("no messages can be received"), what="the end of Celery's consumer")
        finally:
            client.config_set("maxmemory", 0)
    assert worker.stop() == 0


def test_a_worker_that_is_stopped_gives_its_job_back_at_once(installation):
    """The attempt does not count, and another worker continues."""
    service = installation.service
    first = installation.worker()
    service.decodes_only(12)
    job_id = installation.submit()
    installation.waits_until_done(job_id, 60)
    assert first.stop(within_s=30) == 0
    assert first.lines("job given back")
    assert show(service, job_id)["status"] == "queued"
    service.decodes_only(None)
    installation.worker()
    installation.waits_for_end(job_id)
    assert show(service, job_id)["attempts"] == 1
