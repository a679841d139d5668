"""While the only slot waits for its next worker, clients get an answer."""

import asyncio
import re
import signal
from collections.abc import Iterator

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from processes import ZOMBIE, children
from serving.client import CannotConnect
from serving.harness import Service, running
from waiting import until


@pytest.fixture
def waiting(tmp_path) -> Iterator[Service]:
    """A service whose only worker has failed, and whose next one starts in 100 s."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "boom").write_text("the disk of the model is broken")
    with running(tmp_path, {"backoff_first_s": 100, "backoff_most_s": 100}) as service:
        until(lambda: service.lines("worker ended"))
        yield service


def test_requests_are_refused_with_the_time_of_the_next_attempt(waiting):
    """They get a 503 in the shape of all errors at once, also after a large upload, and nothing of the reason."""
    for answer in (httpx.get(f"{waiting.url}/work"), httpx.post(f"{waiting.url}/work", content=bytes(20_000_000))):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "not_ready"
        assert "broken" not in answer.text
        assert 60 < int(answer.headers["retry-after"]) <= 100


def test_the_health_says_that_the_process_lives_and_the_slot_is_down(waiting):
    """An orchestrator does not restart the container, and sends it no requests. An operator sees the reason."""
    assert httpx.get(f"{waiting.url}/health/live").status_code == 200
    ready, health = (httpx.get(f"{waiting.url}/health{path}") for path in ("/ready", ""))
    assert (ready.status_code, health.status_code, health.json()["status"]) == (503, 503, "down")
    for reason in (ready.json()["error"]["message"], health.json()["reason"]):
        assert re.search(r"the disk of the model is broken.* starts in \d+ s", reason)


def test_a_websocket_is_refused(waiting):
    """Before the upgrade, with the same status."""

    async def refused() -> int:
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(waiting.url.replace("http", "ws") + "/v1/realtime"):
                pass
        return refusal.value.response.status_code

    assert asyncio.run(refused()) == 503


def test_the_next_worker_takes_over(waiting):
    """A reload starts it at once. It gets the next requests, and no other process is left."""
    assert waiting.get("/work").status == 503
    (waiting.faults / "boom").unlink()
    waiting.signal(signal.SIGHUP)
    until(lambda: waiting.get("/work").status == 200)
    worker = waiting.about()["pid"]
    until(lambda: children(waiting.process.pid).keys() == {worker}, what="one process")
    assert ZOMBIE not in children(waiting.process.pid).values()


def test_its_answers_are_counted(waiting):
    """The next worker's metrics have those of every standby process. A probe is a request, and no failure."""
    for n_rounds in (1, 2):
        for path in ("/transcribe", "/openai/v1/audio/transcriptions/", "/health/ready"):
            assert httpx.post(waiting.url + path).status_code == 503
        (waiting.faults / "boom").unlink()
        waiting.signal(signal.SIGHUP)
        until(lambda: waiting.get("/work").status == 200)
        shown = waiting.get("/metrics").text
        counts = dict(re.findall(r'^asr_requests_total{code="503",endpoint="(.+)"} (.+)', shown, re.MULTILINE))
        for endpoint in ("/transcribe", "/v1/audio/transcriptions", "/health/ready"):
            assert float(counts[endpoint]) == n_rounds
        failures = waiting.metric('asr_request_failures_total{reason="not_ready"}')
        assert failures == sum(map(float, counts.values())) - n_rounds
        (waiting.faults / "boom").write_text("again")
        waiting.signal(signal.SIGHUP)
        n_ended = 1 + 2 * n_rounds  # the ready worker, and the next one, which fails
        until(lambda n_ended=n_ended: len(waiting.lines("worker ended")) == n_ended)  # type: ignore[misc]


def test_a_stop_does_not_wait(waiting):
    """The service ends, and its address is free."""
    assert waiting.get("/work").status == 503
    waiting.signal(signal.SIGTERM)
    assert waiting.ended(10) == 0
    with pytest.raises(CannotConnect):
        waiting.get("/work")


def test_it_ends_with_a_master_that_is_killed(waiting):
    """Otherwise the next service would find the port in use."""
    assert waiting.get("/work").status == 503
    others = psutil.Process(waiting.process.pid).children()
    waiting.signal(signal.SIGKILL)
    assert psutil.wait_procs(others, timeout=30)[1] == []


def test_a_worker_that_fails_after_it_was_ready_is_stood_in_for(tmp_path):
    """Workers that become ready and fail soon make the slot wait too."""
    (tmp_path / "faults").mkdir()
    with running(tmp_path, {"backoff_first_s": 100, "backoff_most_s": 100}) as service:
        service.ready()
        for n_ends in (1, 2):  # the first is replaced at once
            until(lambda: service.get("/work").status == 200)
            service.signal(signal.SIGSEGV, service.about()["pid"])
            until(lambda n_ends=n_ends: len(service.lines("worker ended")) == n_ends)  # type: ignore[misc]
        assert service.lines("worker ended")[1]["retry_in_s"] == 100
        assert "starts in" in service.get("/work").text


def test_a_worker_that_was_asked_to_end_before_it_was_ready_is_stood_in_for(tmp_path):
    """Its exit code is 0, and the slot waits all the same."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "load_s").write_text("100")
    with running(tmp_path, {"backoff_first_s": 100, "backoff_most_s": 100}) as service:
        service.signal(signal.SIGTERM, service.about()["pid"])
        until(lambda: service.lines("worker ended"))
        assert service.lines("worker ended")[0]["exit_code"] == 0
        assert "starts in" in service.get("/work").text
