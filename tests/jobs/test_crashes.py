"""Jobs outlive their processes. Real ones, with a fake model whose calls take a twentieth of a second."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from api.live import tone
from serving.harness import Service, running
from waiting import until

SOUND = tone(240, rate=1000)
"""27 windows of 9 s, each of which is one segment."""


@contextlib.contextmanager
def serving(tmp_path: Path, name: str, **environ: str) -> Iterator[Service]:
    """Serve the jobs of `tmp_path`, from a directory of its own."""
    state = {"ASR_STATE_DIR": str(tmp_path / "state"), "ASR_CHUNK_LENGTH_S": "15", "FAKE_MODEL": "0.05"}
    with running(tmp_path / name, {"heartbeat_s": 5}, **state, **environ) as service:
        yield service.ready()


def send(service: Service, path: str, **fields: str) -> dict[str, Any]:
    response = httpx.post(
        f"{service.url}{path}",
        params={"vad_filter": "false", **fields},
        content=SOUND,
        headers={"content-type": "audio/wav"},
        timeout=60,
    )
    assert response.is_success, response.text
    answer: dict[str, Any] = response.json()
    return answer


def submit(service: Service, **fields: str) -> str:
    job_id: str = send(service, "/jobs", **fields)["id"]
    return job_id


def show(service: Service, job_id: str) -> dict[str, Any]:
    """Return the job; nothing while no worker answers."""
    try:
        response = httpx.get(f"{service.url}/jobs/{job_id}", timeout=60)
        job: dict[str, Any] = response.raise_for_status().json()
    except httpx.HTTPError:
        return {"status": "unknown", "progress": {"audio_s_done": 0}, "attempts": 0}
    return job


def done_s(service: Service, job_id: str) -> float:
    job = show(service, job_id)
    assert job["status"] != "succeeded", "it was too fast for this test"
    return float(job["progress"]["audio_s_done"]) if job["status"] == "running" else 0.0


def is_running(service: Service, job_id: str, n_attempts: int) -> bool:
    job = show(service, job_id)
    return bool(job["status"] == "running" and job["attempts"] == n_attempts)


def segments(service: Service, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{service.url}/jobs/{job_id}/transcript", timeout=60).json()["segments"]
    return found


def kill(service: Service, *, workers_only: bool = False) -> None:
    for pid in [*([] if workers_only else [service.process.pid]), *service.workers()]:
        os.kill(pid, signal.SIGKILL)


def test_a_job_goes_on_after_its_worker_and_then_everything_was_killed(tmp_path):
    """From its last stored segment: each window is decoded once, but for those that were in the model."""
    with serving(tmp_path, "first") as service:
        service.decodes_only(12)
        job_id = submit(service)
        until(lambda: done_s(service, job_id) > 60, what="some segments")
        kill(service, workers_only=True)
        service.decodes_only(12)
        until(lambda: show(service, job_id)["attempts"] == 2 and done_s(service, job_id) > 120, what="more of them")
        kill(service)
    with serving(tmp_path, "second") as service:
        until(lambda: show(service, job_id)["status"] == "succeeded", what="the end")
        job = show(service, job_id)
        assert (job["attempts"], job["error"], job["progress"]["audio_s_done"]) == (3, None, 240)
        n_decoded = service.metric('asr_batch_size_sum{stage="generate"}') or 0
        expected = send(service, "/transcribe")["segments"]
        assert segments(service, job_id) == expected
        assert n_decoded < len(expected) * 2 / 3, "the last attempt decoded what was stored"


def test_a_job_that_ends_its_workers_fails_with_the_reason(tmp_path):
    """The job fails after three attempts, and the service continues."""
    with serving(tmp_path, "only") as service:
        service.decodes_only(12)
        job_id = submit(service)
        for n_attempts in (1, 2, 3):
            until(lambda n=n_attempts: is_running(service, job_id, n), what=f"attempt {n_attempts}")  # type: ignore[misc]
            kill(service, workers_only=True)
            service.decodes_only(12)
        until(lambda: show(service, job_id)["status"] == "failed", what="the end")
        assert show(service, job_id)["error"]["code"] == "runner_lost"


def test_a_slot_that_drains_gives_its_job_back(tmp_path):
    """At once, instead of running it for minutes, and clients that wait for it are answered.

    The attempt does not count, and the next service goes on.
    """
    with serving(tmp_path, "first") as service:
        service.decodes_only(12)
        job_id = submit(service)
        until(lambda: done_s(service, job_id) > 60, what="some segments")
        with httpx.Client(base_url=service.url, timeout=70) as client, ThreadPoolExecutor() as pool:
            poll = pool.submit(client.get, f"/jobs/{job_id}", params={"wait": 60})
            with client.stream("GET", f"/jobs/{job_id}/events") as events:
                lines = events.iter_lines()
                assert next(lines) == "id: 1"
                service.signal(signal.SIGTERM)
                assert list(lines)
            assert service.ended(60) == 0
            assert poll.result().status_code == 200
        assert json.dumps(job_id) in service.text()
        assert service.lines("job given back")
    with serving(tmp_path, "second") as service:
        until(lambda: show(service, job_id)["status"] == "succeeded", what="the end")
        assert show(service, job_id)["attempts"] == 1
        assert segments(service, job_id)[-1]["start"] > 220
