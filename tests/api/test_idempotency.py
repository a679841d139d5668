"""Requests with the same Idempotency-Key share one inference and one response."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from api.live import ALL, Live, serving, tone, wav
from api.test_failures import assert_error
from asr_service.access.keys import entry, new_secret
from asr_service.api.idempotency import NEW_WORK, IdempotencyStore, Reservation
from asr_service.api.place import Place
from asr_service.errors import (
    AudioLimit,
    CallerLimit,
    ClientGone,
    DeadlineExceeded,
    IdempotencyConflict,
    Overloaded,
    UndecodableAudio,
)
from asr_service.results.outcomes import IdempotencyScope, RenderedResponse
from processes import children
from waiting import until, until_async

ALICE, BOB = new_secret(), new_secret()


def call(live: Live, key: str, audio: bytes | None = None, path: str = "/transcribe", **fields: str) -> httpx.Response:
    """Send a form with the audio, by default a second of tone, and the fields."""
    sent = {"files": {"file": tone() if audio is None else audio}, "headers": {"idempotency-key": key}}
    data = fields if path.startswith("/v1") else ALL | fields
    return httpx.post(f"{live.url}{path}", data=data, timeout=60, **sent)  # type: ignore[arg-type]


@pytest.fixture
def held(live):
    """Make the model wait until the event is set."""
    release = threading.Event()
    live.model.before = lambda _: release.wait(20)
    yield release
    release.set()


def send_concurrently(
    n: int, send: Callable[[], httpx.Response]
) -> tuple[ThreadPoolExecutor, list[Future[httpx.Response]]]:
    pool = ThreadPoolExecutor(n)
    return pool, [pool.submit(send) for _ in range(n)]


def test_concurrent_requests_share_one_inference(live, held):
    """Fifty requests call the model once and get the same bytes. 49 responses have Idempotent-Replayed."""
    pool, answers = send_concurrently(50, lambda: call(live, "fifty"))
    until(lambda: live.admission.open_requests == 50 and live.model.calls, what="the requests")
    held.set()
    with pool:
        got = [answer.result() for answer in answers]
    assert {answer.status_code for answer in got} == {200}
    assert len({answer.content for answer in got}) == 1
    assert sorted("idempotent-replayed" in answer.headers for answer in got) == [False] + [True] * 49
    assert len({answer.headers["x-request-id"] for answer in got}) == 50
    assert len(live.model.calls_of("generate")) == 1


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"response_format": "srt"}, 200),
        ({"path": "/v1/audio/transcriptions", "model": "whisper-1"}, 200),
        ({"audio": b"no audio"}, 415),
    ],
)
def test_a_repeated_request_gets_the_same_response(live, given, status):
    """Transcripts and refusals are repeated with status, body and media type, without the model."""
    first, again = (call(live, f"again {given}".encode().hex(), **given) for _ in range(2))
    assert first.status_code == again.status_code == status, first.text
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert len(live.model.calls_of("generate")) <= 1


def test_requests_are_compared_by_content_and_not_by_encoding(live):
    """Another boundary, another order or a raw body is the same request. Another byte or field is a conflict."""
    assert call(live, "form", beam_size="2", task="transcribe").status_code == 200
    same = httpx.post(
        f"{live.url}/transcribe",
        params={"task": "transcribe", "beam_size": "2", **ALL},
        content=tone(),
        headers={"content-type": "audio/wav", "idempotency-key": "form"},
    )
    assert same.headers["idempotent-replayed"] == "true"
    for other in ({"beam_size": "3"}, {"audio": tone(1.1)}, {"audio": tone() + b"\0"}, {"hotwords": "x"}):
        given: dict[str, Any] = {"beam_size": "2", "task": "transcribe", **other}
        conflict = call(live, "form", **given)
        assert_error(conflict, 409, "idempotency_conflict", "Idempotency-Key")
        assert conflict.headers["x-should-retry"] == "false"  # OpenAI's clients would send it twice more
    assert len(live.model.calls_of("generate")) == 1


def test_a_conflict_is_detected_while_the_first_request_runs(live, held):
    """The first request is not affected."""
    pool, (first,) = send_concurrently(1, lambda: call(live, "early"))
    until(lambda: live.model.calls, what="the first request")
    assert call(live, "early", audio=tone(2)).status_code == 409
    held.set()
    with pool:
        assert first.result().status_code == 200


def test_the_work_goes_on_if_the_first_client_disconnects(live, held):
    """The second client gets the response, from the only inference."""
    gone = live.connect()
    body = wav(bytes(32_000))
    head = (
        "POST /transcribe?vad_filter=false HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nIdempotency-Key: left\r\n"
    )
    gone.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    until(lambda: live.model.calls, what="the first request")
    pool, (joined,) = send_concurrently(1, lambda: call(live, "left", audio=body))
    until(lambda: live.admission.open_requests == 2, what="the second")
    refused = live.metric('asr_requests_total{code="499",endpoint="/transcribe"}')
    gone.close()
    until(
        lambda: live.metric('asr_requests_total{code="499",endpoint="/transcribe"}') == refused + 1,
        what="the disconnect",
    )
    held.set()
    with pool:
        answer = joined.result()
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
    assert len(live.model.calls_of("generate")) == 1


def test_server_errors_are_not_kept(live):
    """After a 503 or a 500, the next request does the work again."""

    def overloaded(_):
        raise Overloaded("no memory")

    for fault, status in ((overloaded, 503), (lambda _: 1 / 0, 500), (lambda _: None, 200)):
        live.model.before = fault
        assert call(live, "retried").status_code == status


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, 503), (signal.SIGSTOP, 200)])
def test_a_decoder_that_is_killed_or_stopped_from_outside_is_not_the_recordings_fault(live, held, number, status):
    """The kernel's killer gives a 503, which is not kept: the retry is transcribed. A stopped decoder goes on."""
    recording = tone(600, rate=1000)
    pool, (first,) = send_concurrently(1, lambda: call(live, f"child-{number}", audio=recording))
    until(lambda: live.model.calls, what="the first windows")
    (child,) = (child for server in children(os.getpid()) for child in children(server))
    os.kill(child, number)
    held.set()
    with pool:
        answer = first.result()
    assert answer.status_code == status, answer.text
    if status == 503:
        assert_error(answer, 503, "unavailable", None)
        assert "SIGKILL" in answer.json()["error"]["message"]
    again = call(live, f"child-{number}", audio=recording)
    assert (again.status_code, "idempotent-replayed" in again.headers) == (200, status == 200)
    assert again.json()["duration"] == 600


def test_the_scope_of_a_key_is_its_caller_and_its_path(tmp_path):
    """The same Idempotency-Key with another API key or path is another request."""
    with serving(api_keys=f"{entry('alice', ALICE)},{entry('bob', BOB)}") as live:

        def send(secret: str, path: str, audio: bytes) -> httpx.Response:
            headers = {"x-api-key": secret, "idempotency-key": "1"}
            return httpx.post(f"{live.url}{path}", files={"file": audio}, data=ALL, headers=headers, timeout=60)

        assert send(ALICE, "/transcribe", tone(1)).json()["duration"] == 1
        assert send(BOB, "/transcribe", tone(2)).json()["duration"] == 2
        assert send(ALICE, "/translate", tone(3)).json()["duration"] == 3
        assert send(ALICE, "/transcribe", tone(2)).status_code == 409


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "a" * 10_000, "ä", "a\tb"])
def test_an_invalid_key_is_refused(live, key):
    """A key must not be empty, too long, or contain other characters than visible ASCII."""
    headers = {b"idempotency-key": key.encode(), b"content-type": b"audio/wav"}
    answer = httpx.post(f"{live.url}/transcribe", content=tone(), headers=headers)
    assert_error(answer, 400, "malformed_request", "Idempotency-Key")


def test_two_keys_or_a_stream_are_refused(live):
    """Two keys are ambiguous, and streaming responses are not stored."""
    two = [("idempotency-key", "a"), ("idempotency-key", "b"), ("content-type", "audio/wav")]
    answer = httpx.post(f"{live.url}/transcribe", content=tone(), headers=two)
    assert_error(answer, 400, "malformed_request", "Idempotency-Key")
    assert_error(call(live, "s", response_format="ndjson"), 400, "malformed_request", "Idempotency-Key")
    assert not live.model.calls


def test_a_raw_upload_of_a_stream_is_refused_before_its_body(live):
    """All fields are in the query, so the 400 arrives though the client sent only its headers."""
    head = [
        "POST /transcribe?response_format=ndjson HTTP/1.1", "Host: a", "Content-Type: audio/wav",
        "Content-Length: 99999", "Idempotency-Key: early",
    ]  # fmt: skip
    status, content = live.raw("\r\n".join([*head, "", ""]).encode())
    assert (status, b"Idempotency-Key is not supported" in content) == (400, True)


# -- The store itself, without waiting for real time

SCOPE = IdempotencyScope(None, "/transcribe", "k")
PLACE = Place(AsyncExitStack())


class Work:
    """Work that ends when `may_end` is set."""

    def __init__(self, outcome: RenderedResponse | Exception = RenderedResponse(b"text", "text/plain")) -> None:  # noqa: B008
        self.outcome = outcome
        self.n_started = self.n_cancelled = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> RenderedResponse:
        self.n_started += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_abandoned_work_is_cancelled_after_a_time():
    """Before that, a retry attaches to it. After that, a retry starts the work again."""
    store, work = IdempotencyStore(window_s=9, max_bytes=99, linger_s=0.05), Work()
    first = asyncio.create_task(store.get_or_run(SCOPE, b"d", work, PLACE))
    await _settle()
    first.cancel()
    await _settle()
    joined = asyncio.create_task(store.get_or_run(SCOPE, b"d", work, PLACE))
    await asyncio.sleep(0.1)  # longer than it lingers, but a client waits again
    assert (work.n_started, work.n_cancelled) == (1, 0)
    joined.cancel()
    await until_async(lambda: work.n_cancelled)
    work.may_end.set()
    assert await store.get_or_run(SCOPE, b"d", work, PLACE) == (RenderedResponse(b"text", "text/plain"), False)
    assert work.n_started == 2


async def test_work_is_not_cancelled_while_a_retry_is_uploading():
    """The upload may take any time. If no other client waits, the retry may hold the place of the work."""
    store, work = IdempotencyStore(window_s=9, max_bytes=99, linger_s=0.02), Work()
    first = asyncio.create_task(store.get_or_run(SCOPE, b"d", work, PLACE))
    await _settle()
    with store.reserve(SCOPE) as again:
        assert again == Reservation(adds_work=False)
    first.cancel()
    await _settle()
    with store.reserve(SCOPE) as again, store.reserve(SCOPE) as third:
        assert (again, third) == (Reservation(adds_work=False, place=PLACE), Reservation(adds_work=False))
        await asyncio.sleep(0.1)
        assert work.n_cancelled == 0
    await until_async(lambda: work.n_cancelled)
    with store.reserve(SCOPE) as again:
        assert again == NEW_WORK


async def test_work_lingers_after_the_last_client_leaves():
    """A client that attached and left restarts the timer."""
    store, work = IdempotencyStore(window_s=9, max_bytes=99, linger_s=60), Work()
    timers = []
    for _ in range(2):
        waiting = asyncio.create_task(store.get_or_run(SCOPE, b"d", work, PLACE))
        await _settle()
        waiting.cancel()
        await _settle()
        timers.append(store._running[SCOPE].abandonment)
    assert [timer is not None and timer.cancelled() for timer in timers] == [True, False]
    await store.close()


@pytest.mark.parametrize(
    ("outcome", "is_kept"),
    [
        (RenderedResponse(b"text", "text/plain"), True),
        (UndecodableAudio("broken", param="file"), True),
        (Overloaded("full"), False),
        (CallerLimit("many"), False),
        (AudioLimit("used", retry_after_s=9), False),
        (DeadlineExceeded("slow"), False),
        (ClientGone("gone"), False),
        (RuntimeError("defect"), False),
    ],
)
async def test_every_outcome_is_shared_and_final_ones_are_kept(outcome, is_kept):
    """All waiting requests get it. A later request gets a final outcome, or does the work again."""
    store, work = IdempotencyStore(window_s=9, max_bytes=9999), Work(outcome)
    waiting = [asyncio.create_task(store.get_or_run(SCOPE, b"d", work, PLACE)) for _ in range(3)]
    await _settle()
    work.may_end.set()
    got = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in got] == [tuple if isinstance(outcome, RenderedResponse) else type(outcome)] * 3
    (later,) = await asyncio.gather(store.get_or_run(SCOPE, b"d", work, PLACE), return_exceptions=True)
    assert work.n_started == (1 if is_kept else 2)
    assert type(later) is type(got[0])
    if is_kept:
        with pytest.raises(IdempotencyConflict):
            await store.get_or_run(SCOPE, b"other", work, PLACE)


async def test_responses_are_kept_within_the_limits_of_time_and_size():
    """The oldest are removed when there are too many bytes. One over the whole limit is not kept."""
    clock = Clock()
    store = IdempotencyStore(window_s=10, max_bytes=10, clock=clock)

    async def runs(value: str, body: str) -> bool:
        work = Work(RenderedResponse(body.encode(), "text/plain"))
        work.may_end.set()
        await store.get_or_run(IdempotencyScope(None, "/", value), b"d", work, PLACE)
        await _settle()
        return bool(work.n_started)

    assert [await runs("a", "1234"), await runs("b", "éé"), await runs("a", "1234")] == [True, True, False]
    assert [await runs("c", "123"), await runs("b", "éé"), await runs("a", "1234")] == [True, False, True]
    assert [await runs("large", "1" * 11), await runs("large", "1" * 11)] == [True, True]
    assert await runs("d", "1")
    clock.now_s += 10
    assert await runs("d", "1")
    assert store._n_bytes == 1


async def _settle() -> None:
    """Run the tasks that are ready."""
    for _ in range(5):
        await asyncio.sleep(0)
