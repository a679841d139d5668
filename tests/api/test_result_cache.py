"""The cache of results over HTTP: two slots that share it, in a directory and in Redis."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from api.conftest import fresh
from api.live import ALL, Live, serving, tone
from api.test_idempotency import call
from asr_service import metrics
from asr_service.access.keys import entry, new_secret
from asr_service.engine.model.protocol import Generation
from asr_service.formats import FORMATS
from asr_service.results.directory import DirectoryStore
from asr_service.results.times import ResultTimes
from fakes import FakeModel
from redis_server import running_redis
from waiting import until

TIMES = ResultTimes(lease_s=1, min_poll_s=0.01, max_poll_s=0.05, pause_s=0.2)
ALICE, BOB = new_secret(), new_secret()
KEYS = f"{entry('alice', ALICE)} audio_s_per_minute=5,{entry('bob', BOB)}"
STORES = ("directory", "redis")
CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(keepalive_expiry=1))


@pytest.fixture(scope="module", autouse=True)
def _connections() -> Iterator[None]:
    yield
    CLIENT.close()


@pytest.fixture(scope="module", params=STORES)
def _pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Live]]:
    folder = tmp_path_factory.mktemp("results")
    with ExitStack() as stack:
        url = stack.enter_context(running_redis(folder)).url if request.param == "redis" else str(folder)
        slots = [
            stack.enter_context(serving(cache_url=url, result_times=TIMES, key_usage_dir=folder)) for _ in range(2)
        ]
        yield slots


@pytest.fixture
def pair(_pair: list[Live]) -> Iterator[list[Live]]:
    with ExitStack() as stack:
        for live in _pair:
            stack.enter_context(contextmanager(fresh)(live))
        yield _pair


_lengths = iter(range(1000, 10_000))


def unheard(seconds: float = 0) -> bytes:
    """Return a recording that no other test has sent."""
    return tone(seconds + next(_lengths) / 1000, rate=1000)


def send(live: Live, audio: bytes, path: str = "/transcribe", control: str = "", **fields: str) -> httpx.Response:
    """Send a form, with the header Cache-Control if it is given."""
    data = fields if path.startswith("/v1") else ALL | fields
    headers = {"cache-control": control} if control else {}
    answer = CLIENT.post(f"{live.url}{path}", data=data, files={"file": audio}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def outcome(answer: httpx.Response) -> str:
    return str(answer.headers["x-asr-cache"])


def count(name: str) -> float:
    """Return how many requests of this process had this outcome."""
    return float(metrics.CACHE_REQUESTS.labels(name)._value.get())


REQUESTS: list[tuple[str, dict[str, str]]] = [
    *(("/transcribe", {"response_format": name}) for name in FORMATS),
    ("/transcribe", {"response_format": "vtt", "highlight_words": "true", "max_line_width": "20"}),
    ("/translate", {}),
    ("/v1/audio/translations", {"model": "whisper-1", "vad_filter": "false"}),
    *(
        ("/v1/audio/transcriptions", {"model": "whisper-1", "vad_filter": "false", **fields})
        for fields in (
            {},
            {"response_format": "verbose_json", "timestamp_granularities[]": "word"},
            {"stream": "true"},
            {"chunking_strategy": "auto", "response_format": "srt"},
        )
    ),
]


def two_segments(model: FakeModel, *_: object) -> Generation:
    text = model.tokens(" hello")
    tokens = (model.at(0.0), *text, model.at(0.4), model.at(0.4), *text, model.at(0.9))
    return Generation(tokens, -0.2, 0.01)


def test_a_hit_is_the_same_answer(pair):
    """In every format, streams included: the same bytes, media type and warnings as the miss, from another slot."""
    one, other = pair
    one.model.script = two_segments
    audio = tone()[:-1000]  # cut off, which is a warning
    with ThreadPoolExecutor(2) as pool:
        for path, fields in REQUESTS:
            miss = send(one, audio, path, "no-cache", **fields)
            hits = list(pool.map(lambda live, a=(path, fields): send(live, audio, a[0], **a[1]), pair))
            assert [outcome(miss), *map(outcome, hits)] == ["bypass", "hit", "hit"], (path, fields)
            for hit in hits:
                assert hit.content == miss.content
                assert hit.text.count("hello") >= 2
                assert hit.headers["content-type"] == miss.headers["content-type"]
                assert hit.headers.get("x-asr-warning") == miss.headers.get("x-asr-warning")
    assert not other.model.calls


def test_formats_without_word_times_share_a_transcript(pair):
    """So do both APIs, forms and raw bodies. Word times are another transcript: they also set the segments' times."""
    audio = unheard()
    assert outcome(send(pair[0], audio)) == "miss"
    raw = CLIENT.post(f"{pair[1].url}/transcribe?vad_filter=false&response_format=tsv", content=audio,
                     headers={"content-type": "audio/wav"})  # fmt: skip
    assert (raw.status_code, outcome(raw)) == (200, "hit")
    v1 = send(pair[1], audio, "/v1/audio/transcriptions", model="whisper-1", vad_filter="false")
    assert outcome(v1) == "hit"
    assert outcome(send(pair[0], audio, response_format="srt")) == "miss"
    assert outcome(send(pair[0], audio, beam_size="2")) == "miss"
    assert outcome(send(pair[0], audio + b"\0")) == "miss"


def test_a_client_that_waits_and_leaves_frees_its_place(pair):
    """At once, while the other slot still computes."""
    one, other = pair
    release = threading.Event()
    one.model.before = lambda _: release.wait(20)
    audio = unheard()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send, one, audio)
        until(lambda: one.model.calls, what="the first request")
        head = "POST /transcribe?vad_filter=false HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\n"
        with other.connect() as waiting:
            waiting.sendall(f"{head}Content-Length: {len(audio)}\r\n\r\n".encode() + audio)
            until(lambda: other.admission.open_requests == 1, what="the second request")
        until(lambda: other.admission.open_requests == 0, what="its end")
        release.set()
        assert outcome(first.result()) == "miss"
    assert not other.model.calls


@pytest.mark.parametrize("fields", [{}, {"response_format": "ndjson"}])
def test_two_slots_compute_equal_requests_once(pair, fields):
    """Twenty requests at the same time, whole and streamed, call one model once."""
    release = threading.Event()
    for live in pair:
        live.model.before = lambda _: release.wait(20)
    audio = unheard()
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(send, pair[number % 2], audio, **fields) for number in range(20)]
        until(lambda: sum(live.admission.open_requests for live in pair) == 20, what="the requests")
        until(lambda: any(live.model.calls for live in pair), what="the first")
        release.set()
        got = [answer.result() for answer in answers]
    assert sorted(map(outcome, got)) == ["hit"] * 19 + ["miss"]
    assert len({answer.content for answer in got}) == 1
    assert sum(len(live.model.calls_of("generate")) for live in pair) == 1


def test_a_client_chooses_with_cache_control(pair):
    """`no-cache` gets and stores a new answer, `no-store` stores none. Other directives change nothing."""
    audio = unheard()
    controls = ["no-store", "no-store, no-cache", "max-age=0", "", "No-Cache", "no-store", "foo"]
    got = [outcome(send(pair[0], audio, control=control)) for control in controls]
    assert got == ["miss", "bypass", "miss", "hit", "bypass", "hit", "hit"]


def test_outcomes_are_in_the_metrics_and_the_log(pair):
    live = pair[0]
    had = {name: count(name) for name in ("hit", "miss", "bypass")}
    audio = unheard()
    with capture_logs(processors=[merge_contextvars]) as lines:
        for control in ("", "", "no-cache"):
            send(live, audio, control=control)
        until(lambda: len([line for line in lines if line["event"] == "request"]) == 3, what="the log")
    assert [line["cache"] for line in lines if line["event"] == "request"] == ["miss", "hit", "bypass"]
    assert {name: count(name) - had[name] for name in had} == {"hit": 1, "miss": 1, "bypass": 1}
    assert live.metric('asr_cache_bytes{slot="machine"}') > 0
    assert live.metric('asr_stage_duration_seconds_count{stage="cache"}') > 0


def test_a_failure_is_not_kept(pair):
    """An error has the header too. A client that waits for a recording that fails does the work itself."""
    answer = CLIENT.post(f"{pair[0].url}/transcribe", files={"file": b"no audio"})
    assert (answer.status_code, outcome(answer)) == (415, "miss")
    audio = unheard()
    pair[0].model.before = lambda _: 1 / 0
    failed = CLIENT.post(f"{pair[0].url}/transcribe", files={"file": audio}, data=ALL)
    assert (failed.status_code, outcome(failed)) == (500, "miss")
    assert outcome(send(pair[1], audio)) == "miss"


def test_a_hit_is_answered_while_the_queue_is_full(tmp_path):
    """New work gets a 503 after its upload, or before it if the client asks for new work."""
    with serving(cache_url="memory", max_queued_audio_s=20) as live:
        known = unheard()
        send(live, known)
        release = threading.Event()
        live.model.before = lambda _: release.wait(20)
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(send, live, unheard(10)) for _ in range(8)]
            until(lambda: live.app._engine.queue()[1] > 20, what="a long queue")
            assert outcome(send(live, known)) == "hit"
            refused = live.post(audio=unheard())
            assert (refused.status_code, outcome(refused)) == (503, "miss")
            stored = CLIENT.post(f"{live.url}/transcribe?vad_filter=false", content=known,
                                headers={"cache-control": "no-cache", "content-type": "audio/wav"})  # fmt: skip
            assert (stored.status_code, "x-asr-cache" in stored.headers) == (503, False)
            release.set()
            assert all(answer.result().status_code == 200 for answer in waiting)


def test_an_api_key_gets_its_own_results(tmp_path):
    """A hit costs no audio: a key that has used its audio still gets what it has had. All holds after a restart."""

    def ask(live: Live, secret: str, audio: bytes, **more: str) -> httpx.Response:
        headers = {"x-api-key": secret} | more
        return CLIENT.post(f"{live.url}/transcribe", files={"file": audio}, data=ALL, headers=headers)

    audio = tone(6)
    with serving(cache_url=f"{tmp_path}/cache", api_keys=KEYS, key_usage_dir=tmp_path) as live:
        assert outcome(ask(live, ALICE, audio)) == "miss"
        assert outcome(ask(live, BOB, audio)) == "miss"
        assert [outcome(ask(live, ALICE, audio)) for _ in range(2)] == ["hit", "hit"]
        refused = ask(live, ALICE, tone(7))
        assert (refused.status_code, outcome(refused)) == (429, "miss")
        assert ask(live, BOB, audio, **{"idempotency-key": "1"}).status_code == 200
        used = live.metric('asr_key_audio_seconds_total{key="alice"}')
    with serving(cache_url=f"{tmp_path}/cache", cache_shared=True, api_keys=KEYS, key_usage_dir=tmp_path) as live:
        assert [outcome(ask(live, secret, audio)) for secret in (BOB, ALICE)] == ["miss", "hit"]
        assert live.metric('asr_key_audio_seconds_total{key="alice"}') == used
        assert ask(live, BOB, audio, **{"idempotency-key": "1"}).headers["idempotent-replayed"] == "true"


def test_without_a_cache_nothing_changes(live):
    """No header, and equal requests are transcribed again."""
    for control in ("", "no-cache"):
        assert "x-asr-cache" not in send(live, tone(), control=control).headers
    assert len(live.model.calls_of("generate")) == 2


def test_every_request_is_answered_when_redis_dies(tmp_path):
    """In the middle of load: nothing fails and nothing waits for long. When Redis is back, it is used again."""
    with running_redis(tmp_path) as redis, serving(cache_url=redis.url, result_times=TIMES) as live:
        stop, hits = threading.Event(), count("hit")
        failures = metrics.CACHE_ERRORS.labels("unavailable")
        failed = failures._value.get()

        def load(number: int) -> list[tuple[int, float]]:
            got = []
            while not stop.is_set():
                file = {"file": tone(1 + number / 100, rate=1000)}
                answer = CLIENT.post(f"{live.url}/transcribe", files=file, data=ALL)
                got.append((answer.status_code, answer.elapsed.total_seconds()))
            return got

        with ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(load, number) for number in range(4)]
            until(lambda: count("hit") > hits + 20, what="hits")
            redis.kill()
            until(lambda: failures._value.get() > failed, what="failures")
            redis.start()
            hits = count("hit")
            until(lambda: count("hit") > hits + 20, what="hits again")
            stop.set()
            answers = [answer for each in loads for answer in each.result()]
    assert {status for status, _ in answers} == {200}
    assert max(seconds for _, seconds in answers) < 20


# -- Idempotency-Key


def test_a_retry_at_another_slot_gets_the_first_answer(pair):
    """After the first request, or while it runs. It has both headers."""
    one, other = pair
    release = threading.Event()
    one.model.before = lambda _: release.wait(20)
    audio, key = unheard(), unheard().hex()[:99]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(call, one, key, audio)
        until(lambda: one.model.calls, what="the first request")
        second = pool.submit(call, other, key, audio)
        until(lambda: other.admission.open_requests == 1, what="the retry")
        conflict = call(other, key, unheard())
        release.set()
        answers = [first.result(), second.result(), call(other, key, audio)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1
    assert ["idempotent-replayed" in answer.headers for answer in answers] == [False, True, True]
    assert [outcome(answer) for answer in answers] == ["miss", "hit", "hit"]
    assert not other.model.calls
    assert conflict.status_code == call(other, key, unheard()).status_code == 409


def test_a_refusal_is_repeated_at_another_slot(pair):
    """Bytes and status are the same. `no-store` keeps the answer in the memory of its slot alone."""
    for control in ("", "no-store"):
        got: list[Any] = []
        for live in (*pair, pair[0]):
            headers = {"idempotency-key": f"refused{control}", **({"cache-control": control} if control else {})}
            answer = CLIENT.post(f"{live.url}/transcribe", files={"file": b"no audio"}, headers=headers)
            got.append((answer.status_code, answer.content))
        assert got == [got[0]] * 3
        assert got[0][0] == 415


def test_expired_results_are_deleted_although_nobody_asks_for_them(tmp_path):
    """Transcripts are personal data. Nothing is stored meanwhile."""
    store = DirectoryStore(tmp_path / "cache", 10**9)
    with serving(cache_url=f"{tmp_path}/cache", result_times=replace(TIMES, sweep_s=0.05), key_usage_dir=tmp_path):
        store.store("kept", b"words", 60)
        for _ in range(2):
            store.store("expired", b"words", 0.0)
            until(lambda: [path.name for path in (tmp_path / "cache" / "values").iterdir()] == ["kept"])
