"""A service runs jobs for job workers: the executor of a worker, with a real service."""

import asyncio
import hashlib
import io
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from api.conftest import fresh
from api.live import Live, serving, tone
from asr_service.access.keys import KeyLimits, entry, new_secret
from asr_service.engine.request_options import RequestOptions
from asr_service.jobs.running import service_executor, wire
from asr_service.jobs.running.executor import AttemptFailed, Event, Length, Started, Work, WorkReturned
from asr_service.jobs.running.service_executor import ServiceExecutor
from asr_service.jobs.running.slot_executor import SlotExecutor
from asr_service.transcript import Segment, Transcript
from fakes import Call
from waiting import until

SOUND = tone(60, rate=1000)
"""Six windows, each of which is one segment."""
WORK = Work("job_1", "alice", RequestOptions(vad_filter=False))
ALICE, WORKER = new_secret(), new_secret()
ENTRIES = [entry("alice", ALICE, KeyLimits(None, 100_000.0)), entry("jobs", WORKER, is_worker=True)]


@pytest.fixture(scope="module")
def _keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    usage = tmp_path_factory.mktemp("usage")
    with serving(api_keys=",".join(ENTRIES), key_usage_dir=usage, chunk_length_s=15) as live:
        yield live


@pytest.fixture
def live(_keyed: Live) -> Iterator[Live]:
    yield from fresh(_keyed)


@asynccontextmanager
async def executing(live: Live, key: str = WORKER, patience_s: float = 0.1) -> AsyncIterator[ServiceExecutor]:
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=live.url, headers=headers, timeout=service_executor.TIMEOUT) as http:
        yield ServiceExecutor([http], patience_s=patience_s)


async def events_of(executor: ServiceExecutor, work: Work = WORK, sound: bytes = SOUND) -> list[Event]:
    async with aclosing(executor.transcribe(work, io.BytesIO(sound))) as events:
        return [event async for event in events]


async def run(live: Live, work: Work = WORK, sound: bytes = SOUND, key: str = WORKER) -> list[Event]:
    async with executing(live, key) as executor:
        return await events_of(executor, work, sound)


async def test_a_run_has_the_segments_and_the_transcript(live):
    """In the lossless form, and with the numbers that progress is counted in."""
    started, *events = await run(live)
    assert isinstance(started, Started)
    transcript = events[-1]
    assert isinstance(transcript, Transcript)
    segments = [each for each in events if isinstance(each, Segment)]
    assert transcript.segments == tuple(segments)
    assert len(segments) == 6
    assert segments[0].tokens
    assert [each.audio_s for each in events if isinstance(each, Length)][-1] == 60.0


async def test_a_run_continues_after_earlier_segments(live):
    """If they come from a run with the same options, model and settings. Otherwise it begins at the start."""
    started, *events = await run(live)
    assert isinstance(started, Started)
    whole = events[-1]
    assert isinstance(whole, Transcript)
    live.model.calls.clear()
    resumed = await run(live, replace(WORK, resume_key=started.resume_key, earlier=whole.segments[:5]))
    assert isinstance(resumed[-1], Transcript)
    assert resumed[-1].segments == whole.segments
    assert [each.id for each in resumed if isinstance(each, Segment)] == [4, 5], "the last one is decoded again"
    assert sum(call.n_windows for call in live.model.calls_of("generate")) == 2
    other = await run(live, replace(WORK, resume_key="another", earlier=whole.segments[:5]))
    assert [each.id for each in other if isinstance(each, Segment)] == list(range(6))


async def test_the_owner_of_the_job_is_charged(live):
    """Not the worker, and only for a transcript."""
    sample = 'asr_key_audio_seconds_total{{key="{}"}}'.format

    def charged(name: str) -> float:
        text = httpx.get(f"{live.url}/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(sample(name)))

    before = charged("alice")
    await run(live)
    with pytest.raises(AttemptFailed):
        await run(live, sound=b"no audio")
    assert charged("alice") == before + 60
    assert charged("jobs") == 0


def test_only_the_key_of_a_worker_runs_jobs(live):
    """Another key would act for all owners."""
    for key, status, code in ((ALICE, 403, "worker_key_required"), ("", 401, "missing_api_key")):
        response = httpx.post(f"{live.url}{wire.PATH}", content=b"", headers={"x-api-key": key})
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    with pytest.raises(WorkReturned, match="alice"):
        asyncio.run(run(live, key=ALICE))
    assert wire.PATH not in httpx.get(f"{live.url}/openapi.json").json()["paths"]


@pytest.mark.parametrize("headers", [{}, {wire.AUDIO_BYTES: "many"}, {wire.AUDIO_BYTES: "9" * 5000}])
def test_a_request_that_is_no_workers_is_refused(live, headers):
    """With a message, as a form is."""
    headers = {"x-api-key": WORKER, "content-type": "application/octet-stream", **headers}
    response = httpx.post(f"{live.url}{wire.PATH}", content=b"abc{}", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed_request")


def test_a_job_that_only_a_newer_version_can_read_is_not_taken(live):
    """A newer worker gives it to another service, or puts it back. A final refusal would end the job."""
    content = b"abc" + wire.encode_work(Work("job_1", "alice", RequestOptions())).replace(b"{}", b'{"voices":2}')
    assert b"voices" in content
    headers = {"x-api-key": WORKER, "content-type": "application/octet-stream", wire.AUDIO_BYTES: "3"}
    response = httpx.post(f"{live.url}{wire.PATH}", content=content, headers=headers)
    assert response.status_code == 503
    assert "version" in response.json()["error"]["message"]


def test_a_recording_that_cannot_be_transcribed_is_not_tried_again(live):
    """The error is the one of /transcribe."""
    with pytest.raises(AttemptFailed) as failed:
        asyncio.run(run(live, sound=b"no audio" * 100))
    direct = httpx.post(f"{live.url}/transcribe", headers={"x-api-key": ALICE}, files={"file": b"no audio" * 100})
    error = direct.json()["error"]
    assert (failed.value.code, failed.value.message, failed.value.is_final) == (error["code"], error["message"], True)


async def test_a_failure_of_the_model_may_pass(live):
    def fail(call: Call) -> None:
        if call.stage == "generate":
            raise RuntimeError("no")

    live.model.before = fail
    with pytest.raises(AttemptFailed) as failed:
        await run(live)
    assert (failed.value.code, failed.value.is_final) == ("inference_failed", False)


async def test_a_slot_takes_no_more_jobs_than_fill_its_batches(live):
    """But four times as many clips. The worker looks for another slot. If none has room, it returns the job."""
    gate = threading.Event()
    live.model.before = lambda call: gate.wait(20) if call.stage == "generate" else None
    runs = live.app._jobs.runs
    await asyncio.to_thread(until, lambda: runs._executor.has_room(0, 7), what="two seconds without other requests")
    assert runs._executor.has_room(15, 0)
    assert not runs._executor.has_room(0, 8)
    assert not runs._executor.has_room(8, 4)
    running = [asyncio.create_task(run(live, sound=tone(1))) for _ in range(16)]
    n_failed = REGISTRY.get_sample_value("asr_request_failures_total", {"reason": "overloaded"})
    try:
        await asyncio.to_thread(until, lambda: runs._n_runs == 16, what="sixteen runs")
        with pytest.raises(WorkReturned, match="enough"):
            await run(live)
        after = REGISTRY.get_sample_value("asr_request_failures_total", {"reason": "overloaded"})
        assert after == n_failed, "the job waits: no request has failed"
    finally:
        gate.set()
    await asyncio.gather(*running)


async def test_a_large_recording_is_not_sent_to_a_slot_without_room(live, monkeypatch):
    """The worker asks first, each second: a proxy would receive the recording each time before the slot refuses it."""
    sent: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        sent.append(request)

    large = tone(400)
    async with executing(live) as executor:
        (http,) = executor._services
        http.event_hooks = {"request": [note]}
        await events_of(executor, sound=large)
        assert [request.method for request in sent] == ["GET", "POST"]
        sent.clear()
        monkeypatch.setattr(SlotExecutor, "has_room", lambda *_: False)
        with pytest.raises(WorkReturned, match="enough"):
            await events_of(executor, sound=large)
    assert {request.method for request in sent} == {"GET"}


def test_a_run_without_news_keeps_the_connection_alive(live, monkeypatch):
    """So the worker notices within a minute if the machine of the service is lost."""
    monkeypatch.setattr(wire, "KEEP_ALIVE_S", 0.05)
    gate = threading.Event()
    live.model.before = lambda call: gate.wait(20) if call.stage == "generate" else None
    sound, headers = tone(1), {"x-api-key": WORKER, "content-type": "application/octet-stream"}
    body, headers = sound + wire.encode_work(WORK), headers | {wire.AUDIO_BYTES: str(len(sound))}
    with httpx.stream("POST", f"{live.url}{wire.PATH}", content=body, headers=headers) as response:
        lines = response.iter_lines()
        assert "started" in next(lines)
        assert [next(lines) for _ in range(3)] == ["{}"] * 3
        gate.set()
        assert "transcript" in list(lines)[-1]


def test_stored_segments_may_exceed_the_limit_of_an_upload():
    """A recording of the maximum size was accepted, so its job must be able to continue."""
    sound, long = tone(1), Segment(0, 0.0, 1.0, "a" * 1000, (), 0.0, 0.0, 1.0, 0.0, "en")
    work = replace(WORK, resume_key="another", earlier=(long,) * 100)
    with serving(max_upload_bytes=len(sound)) as live:
        assert isinstance(asyncio.run(run(live, work, sound))[-1], Transcript)


async def test_a_forged_run_does_not_decide_the_cached_transcript_of_a_recording():
    """Without keys, anyone can send a run: with another recording's digest, or with segments that nobody spoke."""
    sound, victim, anyones = SOUND, tone(2), replace(WORK, owner="")
    with serving(chunk_length_s=15, cache_url="memory") as live:
        started, *_, whole = await run(live, sound=sound)
        assert isinstance(started, Started)
        assert isinstance(whole, Transcript)
        earlier = (replace(whole.segments[0], text="forged"), *whole.segments[1:5])
        digest = hashlib.sha256(sound).hexdigest()
        await run(live, replace(anyones, recording_sha256=hashlib.sha256(victim).hexdigest()), sound)
        work = replace(anyones, resume_key=started.resume_key, earlier=earlier, recording_sha256=digest)
        assert "forged" in str((await run(live, work, sound))[-1])
        for each in (victim, sound):
            answer = live.post(audio=each, vad_filter="false")
            assert answer.headers["x-asr-cache"] == "miss"


async def test_a_slot_that_drains_returns_the_work_at_once():
    """Also while the model works, so that a restart does not wait for an hour of speech."""
    gate = threading.Event()
    with serving(chunk_length_s=15) as live:
        live.model.before = lambda call: gate.wait(60) if call.stage == "generate" else None
        running = asyncio.create_task(run(live))
        try:
            draining: Any = live.app._jobs.runs._draining
            loop = await asyncio.to_thread(until, lambda: draining._loop, what="the run")
            loop.call_soon_threadsafe(live.app.begin_drain)
            with pytest.raises(WorkReturned, match="drains"):
                await asyncio.wait_for(running, 30)
        finally:
            gate.set()


async def test_a_service_that_cannot_be_reached_returns_the_work(live):
    """The attempt does not count: the recording is not at fault. Other services are asked at once."""
    async with executing(live) as reachable, httpx.AsyncClient(base_url="http://127.0.0.1:9") as closed:
        with pytest.raises(WorkReturned):
            await anext(ServiceExecutor([closed], patience_s=0.1).transcribe(WORK, io.BytesIO(SOUND)))
        both = ServiceExecutor([closed, *reachable._services], patience_s=0.1)
        assert isinstance(await anext(both.transcribe(WORK, io.BytesIO(SOUND))), Started)


async def test_a_connection_that_breaks_is_a_failed_attempt():
    """The recording may have ended the service."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'"recording_sha256":null}}')
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + wire.encode_line(Started("key")).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            with pytest.raises(AttemptFailed) as failed:
                await events_of(ServiceExecutor([http]), sound=b"sound")
    assert (failed.value.code, failed.value.is_final) == ("runner_lost", False)
