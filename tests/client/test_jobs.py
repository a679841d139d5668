"""How the clients of jobs handle a service that stops and starts, and one that is a different program."""

import io

import httpx
import pytest

from asr_service.client import RecordingRefused, ServerUnusable, connect, connect_to_jobs, retry
from asr_service.transcript import Transcript
from client.test_service import WHOLE, Answer, scripted

SUBMITTED = Answer(202, b'{"id": "job_1", "status": "queued"}')
EVENTS = {"Content-Type": "text/event-stream; charset=utf-8"}
QUEUED = Answer(200, b'event: job\ndata: {"status": "queued"}\n\n', EVENTS)
SUCCEEDED = Answer(200, b'event: job\ndata: {"status": "succeeded"}\n\n', EVENTS)
DONE = Answer(200, WHOLE)
PAGE = Answer(200, b"<html>Welcome</html>")


async def transcribed(url: str) -> list[object]:
    async with connect(url, None, delay_s=0.02, as_jobs=True) as client:
        return [event async for event in client.transcribe(io.BytesIO(b"sound"), {})]


async def test_a_job_may_wait_however_often_its_events_are_interrupted(monkeypatch):
    """The budget is for a service that cannot be reached, and this one answers each time."""
    monkeypatch.setattr(retry, "_MAX_REFUSED_S", 0.1)
    with scripted(SUBMITTED, *[QUEUED] * 10, SUCCEEDED, DONE) as server:
        assert isinstance((await transcribed(server.url))[-1], Transcript)


async def test_a_job_is_given_up_if_its_service_stays_unavailable(monkeypatch):
    monkeypatch.setattr(retry, "_MAX_REFUSED_S", 0.1)
    with scripted(SUBMITTED, QUEUED, Answer(503, b"")) as server, pytest.raises(RecordingRefused, match="503"):
        await transcribed(server.url)


@pytest.mark.parametrize(
    "answers",
    [[PAGE], [SUBMITTED, PAGE], [SUBMITTED, SUCCEEDED, PAGE], [SUBMITTED, SUCCEEDED, Answer(200, b"")]],
    ids=["instead of a job", "instead of events", "instead of a transcript", "instead of a transcript, empty"],
)
async def test_another_program_is_reported(answers):
    with scripted(*answers) as server, pytest.raises(ServerUnusable, match="does not answer as this service does"):
        await transcribed(server.url)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"id": 1}'])
def test_another_program_has_no_jobs(body):
    with scripted(Answer(200, body)) as server, connect_to_jobs(server.url, None) as jobs:
        for ask in (lambda: jobs.list({}), lambda: jobs.get("job_1"), lambda: jobs.submit(io.BytesIO(), {})):
            with pytest.raises(ServerUnusable, match="does not answer as this service does"):
                ask()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://proxy:port", "ftp://proxy"])
async def test_a_proxy_that_cannot_be_used_is_reported(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ServerUnusable, match="ALL_PROXY"), connect_to_jobs("http://127.0.0.1:9", None):
        pass
    with pytest.raises(ServerUnusable, match="ALL_PROXY"):
        await transcribed("http://127.0.0.1:9")


def test_an_id_is_one_part_of_the_path():
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path.decode())
        return httpx.Response(204)

    with connect_to_jobs("http://127.0.0.1:9", None) as jobs:
        jobs._http = httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer))
        jobs.remove("a/b?c")
    assert seen == ["/jobs/a%2Fb%3Fc"]
