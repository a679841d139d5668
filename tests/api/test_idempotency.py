"""A request that comes again: one inference, one answer."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from api.live import ALL, Live, serving, tone, wav
from api.test_failures import assert_error
from asr_service.access.keys import entry, new_secret
from asr_service.access.replay import ReplayState
from asr_service.api.idempotency import IdempotencyScope, IdempotencyStore, RenderedResponse
from asr_service.errors import ClientGone, DeadlineExceeded, IdempotencyConflict, Overloaded, UndecodableAudio
from waiting import until

ALICE, BOB = new_secret(), new_secret()


def call(live: Live, key: str, audio: bytes | None = None, path: str = "/transcribe", **fields: str) -> httpx.Response:
    """Send a form: a second of tone, where no other audio is given, and fields."""
    sent = {"files": {"file": tone() if audio is None else audio}, "headers": {"idempotency-key": key}}
    data = fields if path.startswith("/v1") else ALL | fields
    return httpx.post(f"{live.url}{path}", data=data, timeout=30, **sent)  # type: ignore[arg-type]


@pytest.fixture
def held(live):
    """The model waits until the event is set."""
    release = threading.Event()
    live.model.before = lambda _: release.wait(20)
    yield release
    release.set()


def together(n: int, send: Callable[[], httpx.Response]) -> tuple[ThreadPoolExecutor, list[Future[httpx.Response]]]:
    pool = ThreadPoolExecutor(n)
    return pool, [pool.submit(send) for _ in range(n)]


def test_requests_that_come_together_are_answered_by_one_inference(live, held):
    """Fifty at once: the model is called once, all get the same bytes, and 49 are told that they joined."""
    pool, answers = together(50, lambda: call(live, "fifty"))
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
def test_what_has_ended_is_answered_again(live, given, status):
    """Transcripts and refusals, with their status, body and media type, and without the model."""
    first, again = (call(live, f"again {given}".encode().hex(), **given) for _ in range(2))
    assert first.status_code == again.status_code == status, first.text
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert len(live.model.calls_of("generate")) <= 1


def test_the_form_does_not_matter_and_the_content_does(live):
    """Other boundaries, other orders and a raw body are the same request; another byte or field is a conflict."""
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


def test_a_conflict_is_seen_while_the_first_is_still_running(live, held):
    """And the first is none the worse for it."""
    pool, (first,) = together(1, lambda: call(live, "early"))
    until(lambda: live.model.calls, what="the first request")
    assert call(live, "early", audio=tone(2)).status_code == 409
    held.set()
    with pool:
        assert first.result().status_code == 200


def test_the_first_client_may_leave(live, held):
    """The one that joined gets the answer, from the one inference."""
    gone = live.connect()
    body = wav(bytes(32_000))
    head = (
        "POST /transcribe?vad_filter=false HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nIdempotency-Key: left\r\n"
    )
    gone.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    until(lambda: live.model.calls, what="the first request")
    pool, (joined,) = together(1, lambda: call(live, "left", audio=body))
    until(lambda: live.admission.open_requests == 2, what="the second")
    refused = live.metric('asr_requests_total{code="499",endpoint="/transcribe"}')
    gone.close()
    until(
        lambda: live.metric('asr_requests_total{code="499",endpoint="/transcribe"}') == refused + 1, what="its leaving"
    )
    held.set()
    with pool:
        answer = joined.result()
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
    assert len(live.model.calls_of("generate")) == 1


def test_what_may_go_well_the_next_time_is_tried_again(live):
    """A 503 and a 500 are nobody's answer for good."""

    def overloaded(_):
        raise Overloaded("no memory")

    for fault, status in ((overloaded, 503), (lambda _: 1 / 0, 500), (lambda _: None, 200)):
        live.model.before = fault
        assert call(live, "retried").status_code == status


def test_a_key_is_its_callers_and_its_addresses(tmp_path):
    """Another API key, or another address, under the same Idempotency-Key is another request."""
    with serving(api_keys=f"{entry('alice', ALICE)},{entry('bob', BOB)}") as live:

        def send(secret: str, path: str, audio: bytes) -> httpx.Response:
            headers = {"x-api-key": secret, "idempotency-key": "1"}
            return httpx.post(f"{live.url}{path}", files={"file": audio}, data=ALL, headers=headers, timeout=30)

        assert send(ALICE, "/transcribe", tone(1)).json()["duration"] == 1
        assert send(BOB, "/transcribe", tone(2)).json()["duration"] == 2
        assert send(ALICE, "/translate", tone(3)).json()["duration"] == 3
        assert send(ALICE, "/transcribe", tone(2)).status_code == 409


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "a" * 10_000, "ä", "a\tb"])
def test_a_key_that_is_none_is_refused(live, key):
    """Empty, long, or not plain visible ASCII."""
    headers = {b"idempotency-key": key.encode(), b"content-type": b"audio/wav"}
    answer = httpx.post(f"{live.url}/transcribe", content=tone(), headers=headers)
    assert_error(answer, 400, "malformed_request", "Idempotency-Key")


def test_two_keys_and_streams_are_refused(live):
    """It is not clear which is meant, and a stream is not repeated."""
    two = [("idempotency-key", "a"), ("idempotency-key", "b"), ("content-type", "audio/wav")]
    answer = httpx.post(f"{live.url}/transcribe", content=tone(), headers=two)
    assert_error(answer, 400, "malformed_request", "Idempotency-Key")
    assert_error(call(live, "s", response_format="ndjson"), 400, "malformed_request", "Idempotency-Key")
    assert not live.model.calls


# -- the book of answers itself, where no clock has to be waited for

NAME = IdempotencyScope(None, "/transcribe", "k")


class Work:
    """Work that ends when it is told to."""

    def __init__(self, outcome: RenderedResponse | Exception = RenderedResponse(b"text", "text/plain")) -> None:  # noqa: B008
        self.outcome = outcome
        self.n_begun = self.n_dropped = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> RenderedResponse:
        self.n_begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.n_dropped += 1
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_work_that_nobody_waits_for_is_dropped_in_the_end():
    """While it lingers a retry joins it; once it is dropped, a retry begins it anew."""
    answers, work = IdempotencyStore(window_s=9, max_bytes=99, linger_s=0.05), Work()
    first = asyncio.create_task(answers.get_or_run(NAME, b"d", work))
    await _turn()
    first.cancel()
    await _turn()
    joined = asyncio.create_task(answers.get_or_run(NAME, b"d", work))
    await asyncio.sleep(0.1)  # past its lingering: somebody waits again
    assert (work.n_begun, work.n_dropped) == (1, 0)
    joined.cancel()
    async with asyncio.timeout(10):
        while not work.n_dropped:  # noqa: ASYNC110 - it is dropped by a timer
            await asyncio.sleep(0.005)
    work.may_end.set()
    assert await answers.get_or_run(NAME, b"d", work) == (RenderedResponse(b"text", "text/plain"), False)
    assert work.n_begun == 2


async def test_work_is_not_dropped_while_a_retry_is_being_sent():
    """However long its upload takes; the retry knows that nobody else waits."""
    answers, work = IdempotencyStore(window_s=9, max_bytes=99, linger_s=0.02), Work()
    first = asyncio.create_task(answers.get_or_run(NAME, b"d", work))
    await _turn()
    with answers.reserve(NAME) as again:
        assert again is ReplayState.ATTACHED
    first.cancel()
    await _turn()
    with answers.reserve(NAME) as again, answers.reserve(NAME) as third:
        assert (again, third) == (ReplayState.ADOPTED, ReplayState.ATTACHED)
        await asyncio.sleep(0.1)
        assert work.n_dropped == 0
    async with asyncio.timeout(10):
        while not work.n_dropped:  # noqa: ASYNC110 - it is dropped by a timer
            await asyncio.sleep(0.005)
    with answers.reserve(NAME) as again:
        assert again is ReplayState.NEW


async def test_work_lingers_from_the_last_that_left():
    """Whoever joined and left too puts off its end by the whole of its time."""
    answers, work = IdempotencyStore(window_s=9, max_bytes=99, linger_s=60), Work()
    timers = []
    for _ in range(2):
        waiting = asyncio.create_task(answers.get_or_run(NAME, b"d", work))
        await _turn()
        waiting.cancel()
        await _turn()
        timers.append(answers._running[NAME].abandonment)
    assert [timer is not None and timer.cancelled() for timer in timers] == [True, False]
    await answers.close()


@pytest.mark.parametrize(
    ("outcome", "is_kept"),
    [
        (RenderedResponse(b"text", "text/plain"), True),
        (UndecodableAudio("broken", param="file"), True),
        (Overloaded("full"), False),
        (DeadlineExceeded("slow"), False),
        (ClientGone("gone"), False),
        (RuntimeError("defect"), False),
    ],
)
async def test_an_outcome_is_shared_and_kept_only_where_it_is_for_good(outcome, is_kept):
    """All who wait get it; for those who come later it is there, or the work is done again."""
    answers, work = IdempotencyStore(window_s=9, max_bytes=9999), Work(outcome)
    waiting = [asyncio.create_task(answers.get_or_run(NAME, b"d", work)) for _ in range(3)]
    await _turn()
    work.may_end.set()
    got = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in got] == [tuple if isinstance(outcome, RenderedResponse) else type(outcome)] * 3
    (later,) = await asyncio.gather(answers.get_or_run(NAME, b"d", work), return_exceptions=True)
    assert work.n_begun == (1 if is_kept else 2)
    assert type(later) is type(got[0])
    if is_kept:
        with pytest.raises(IdempotencyConflict):
            await answers.get_or_run(NAME, b"other", work)


async def test_answers_are_kept_for_a_time_and_within_their_room():
    """The window ends, and the oldest go where there are too many bytes; one larger than all is not kept."""
    clock = Clock()
    answers = IdempotencyStore(window_s=10, max_bytes=10, clock=clock)

    async def begun(value: str, body: str) -> bool:
        work = Work(RenderedResponse(body.encode(), "text/plain"))
        work.may_end.set()
        await answers.get_or_run(IdempotencyScope(None, "/", value), b"d", work)
        await _turn()
        return bool(work.n_begun)

    assert [await begun("a", "1234"), await begun("b", "éé"), await begun("a", "1234")] == [True, True, False]
    assert [await begun("c", "123"), await begun("b", "éé"), await begun("a", "1234")] == [True, False, True]
    assert [await begun("large", "1" * 11), await begun("large", "1" * 11)] == [True, True]
    assert await begun("d", "1")
    clock.now_s += 10
    assert await begun("d", "1")
    assert answers._n_bytes == 1


async def _turn() -> None:
    """Let what is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)
