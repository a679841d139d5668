"""Services share their jobs, as several machines do: one Redis, one bucket, and a fake model in each service."""

import contextlib
import json
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.live import tone
from asr_service.webhooks.signing import new_secret
from jobs.test_crashes import SOUND, done_s, is_running, segments, send, show, submit
from redis_server import RedisServer, running_redis
from serving.harness import Service, running
from waiting import until
from webhooks.receiver import receiving

RAW: dict[str, Any] = {"params": {"vad_filter": "false"}, "headers": {"content-type": "audio/wav"}, "timeout": 20}


@pytest.fixture
def redis_of_jobs(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis") as server:
        yield server


@contextlib.contextmanager
def machine(directory: Path, name: str, place: dict[str, str]) -> Iterator[Service]:
    """Start a service on a machine of its own, which has nothing of the others but the place of the jobs."""
    environ = {"ASR_CHUNK_LENGTH_S": "15", "FAKE_MODEL": "0.05", **place}
    with running(directory / name, {"heartbeat_s": 5}, **environ) as service:
        yield service


def kill(service: Service) -> None:
    for pid in [service.process.pid, *service.workers()]:
        os.kill(pid, signal.SIGKILL)


def has_succeeded(service: Service, job_id: str) -> bool:
    """Return whether a job has succeeded; False also while Redis cannot be reached."""
    job = httpx.get(f"{service.url}/jobs/{job_id}", timeout=60).json()
    assert job.get("status") != "failed", job
    return bool(job.get("status") == "succeeded")


def started(service: Service) -> set[str]:
    return {line["job_id"] for line in service.lines("job started")}


def test_machines_share_their_jobs_and_none_is_lost(tmp_path, redis_of_jobs, s3):
    """Whichever machine runs a job may be killed, and so may Redis.

    Each job ends once, with one event, and all machines show it.
    """
    place = {
        "ASR_JOBS_URL": redis_of_jobs.url,
        "ASR_JOBS_FILES": s3.url(secrets.token_hex(4)),
        "ASR_WEBHOOK_SECRET": new_secret(),
        "ASR_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        **s3.environ,
    }
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        webhook = {"webhook_url": f"http://127.0.0.1:{receiver.port}/"}
        both = [stack.enter_context(machine(tmp_path, name, place)) for name in ("first", "second")]
        for service in both:
            service.ready().decodes_only(12)

        # The machine that runs a job is killed: the other one continues it.
        job_id = submit(both[0], **webhook)
        until(lambda: done_s(both[1], job_id) > 60, what="some segments")
        lost, kept = both if started(both[0]) else reversed(both)
        kill(lost)
        kept.decodes_only(None)
        third = stack.enter_context(machine(tmp_path, "third", place))
        until(lambda: has_succeeded(kept, job_id), what="the end of the first job")
        assert show(kept, job_id)["attempts"] == 2

        # Redis is killed: jobs are refused, other requests are not, and after its restart the job continues.
        kept.decodes_only(12)
        second_id = submit(kept, **webhook)
        until(lambda: is_running(kept, second_id, 1), what="the second job")
        redis_of_jobs.kill()
        kept.decodes_only(None)
        refused = httpx.post(f"{kept.url}/jobs", content=SOUND, **RAW)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        expected = send(kept, "/transcribe")["segments"]
        redis_of_jobs.start()
        until(lambda: has_succeeded(kept, second_id), what="the end of the second job")

        # Both machines run what waits, and both have every transcript.
        third.ready()
        ids = [httpx.post(f"{kept.url}/jobs", content=tone(40, rate=1000), **RAW).json()["id"] for _ in range(6)]
        for each in ids:
            until(lambda each=each: has_succeeded(third, each), what="the end")  # type: ignore[misc]
            assert show(kept, each)["attempts"] == 1
        assert started(kept) & started(third) & set(ids) == set()
        assert started(third) & set(ids)
        assert segments(third, job_id) == segments(kept, second_id) == expected
        assert sorted(json.loads(body)["data"]["id"] for body in receiver.bodies) == sorted((job_id, second_id))
        assert third.metric('asr_jobs{status="succeeded",store="shared"}') == 2 + len(ids)
