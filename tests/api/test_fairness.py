"""Attacks by one caller, with an honest client that must not notice them."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import httpx
import pytest

from api.live import ALL, Live, read_answer, serving, tone
from api.test_failures import assert_error
from asr_service.access.keys import KeyLimits, entry, new_secret
from asr_service.engine.schedule.admission import Load
from fakes import FakeModel
from waiting import until

GREEDY, LITTLE, HONEST = new_secret(), new_secret(), new_secret()
ENTRIES = ",".join(
    [
        entry("greedy", GREEDY, KeyLimits(concurrent_requests=3)),
        entry("little", LITTLE, KeyLimits(audio_s_per_minute=1)),
        entry("honest", HONEST),
    ]
)
LARGE = 90_000_000


@pytest.fixture(scope="module")
def small() -> Iterator[Live]:
    """Eight places, of which uploads of one caller may hold four. No API keys: a caller is an address."""
    with serving(max_open_requests=8, upload_timeout_s=1) as live:
        yield live


@pytest.fixture
def keyed(tmp_path) -> Iterator[Live]:
    """Eight places, a key with three leases, and a key with a second of audio a minute."""
    with serving(max_open_requests=8, api_keys=ENTRIES, key_usage_dir=tmp_path) as live:
        live.model.calls.clear()  # those of the warm-up
        yield live


@contextmanager
def attacker(live: Live) -> Iterator[Callable[..., socket.socket]]:
    """Yield a function that begins an upload from another address of this machine, and close all at the end."""
    with ExitStack() as stack:

        def begin(body: bytes = b"RIFF", n: int = LARGE, headers: tuple[str, ...] = ()) -> socket.socket:
            peer = socket.create_connection(("127.0.0.1", live.port), timeout=60, source_address=("127.0.0.2", 0))
            head = ["POST /transcribe?vad_filter=false HTTP/1.1", "Host: a", "Content-Type: audio/wav", *headers]
            peer.sendall("\r\n".join([*head, f"Content-Length: {n}", "", ""]).encode() + body)
            return stack.enter_context(peer)

        yield begin
    until(live.idle, what="the end of the attack")


def honest(live: Live, audio: bytes = tone(), headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(f"{live.url}/transcribe", files={"file": audio}, data=ALL, headers=headers, timeout=60)


def test_slow_uploads_of_one_address_do_not_take_every_place(small):
    """Half of the places stay free. Further uploads of that address wait, and get a 503 with Retry-After."""
    with attacker(small) as begin:
        uploads = [begin() for _ in range(4)]
        until(lambda: small.admission.open_requests == 4, what="the first uploads")
        waiting = [begin() for _ in range(5)]
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.extend(honest(small).status_code for _ in range(5)))
        thread.start()
        for peer in itertools.cycle(uploads):
            peer.sendall(bytes(1000))
            time.sleep(0.02)  # slow, and above the minimum speed
            assert small.admission.open_requests <= 5
            if not thread.is_alive() and small.metric('asr_request_failures_total{reason="caller_limit_reached"}') >= 5:
                break
        assert answers == [200] * 5
        for peer in waiting:
            status, body = read_answer(peer)
            assert (status, b'"caller_limit_reached"' in body) == (503, True)


def test_an_upload_that_waited_begins_when_another_one_ends(small):
    """It is transcribed like any other."""
    clip = tone()
    with attacker(small) as begin:
        uploads = [begin() for _ in range(4)]
        until(lambda: small.admission.open_requests == 4, what="the uploads")
        waiting = begin(clip, len(clip))
        assert honest(small).status_code == 200
        uploads[0].close()
        assert read_answer(waiting)[0] == 200


def test_retries_of_one_key_hold_no_more_places_than_the_key_may(keyed):
    """Each retry adopts the work that the client left, and outlasts it by a slow upload. It keeps the place."""
    with attacker(keyed) as begin:
        for number in range(3):
            _adopt_and_outlast(keyed, begin, str(number))
            assert keyed.admission.open_requests == number + 1
            assert honest(keyed, headers={"x-api-key": HONEST}).status_code == 200
        for number in range(3, 6):
            refused = honest(keyed, headers={"x-api-key": GREEDY, "idempotency-key": str(number)})
            assert_error(refused, 429, "concurrency_limit_reached", None)
        assert honest(keyed, headers={"x-api-key": HONEST}).status_code == 200


def _adopt_and_outlast(live: Live, begin: Callable[..., socket.socket], value: str) -> None:
    """Send a clip and disconnect, begin a retry that uploads slowly, and let the work end."""
    clip, release = tone(0.5), threading.Event()
    left = 'asr_requests_total{code="499",endpoint="/transcribe"}'
    n_left = live.metric(left)
    headers = (f"X-API-Key: {GREEDY}", f"Idempotency-Key: {value}")
    live.model.before = lambda _: release.wait(20)
    live.model.calls.clear()
    with begin(clip, len(clip), headers):
        until(lambda: live.model.calls, what="the work")
    until(lambda: live.metric(left) > n_left, what="the disconnect")
    begin(headers=headers)
    running = live.app._idempotency._running
    until(lambda: any(scope.value == value and work.n_waiting for scope, work in running.items()), what="the retry")
    release.set()
    until(lambda: not running, what="the end of the work")


@pytest.mark.parametrize("limit", ["audio", "queue"])
def test_new_work_that_a_retry_begins_is_admitted_like_any_other(keyed, limit, monkeypatch):
    """The work that it hoped to find failed while it uploaded. The refusal is not kept for replay."""
    clip, release = tone(9), threading.Event()
    headers = {"x-api-key": LITTLE, "idempotency-key": "1"}
    keyed.model.before = lambda _: release.wait(20) and 1 / 0
    first = threading.Thread(target=lambda: honest(keyed, clip, headers))
    first.start()
    until(lambda: keyed.model.calls, what="the work")
    with attacker(keyed) as begin:
        # A second client keeps its body back until the work has failed.
        retry = begin(clip[:100], len(clip), tuple(f"{name}: {value}" for name, value in headers.items()))
        until(lambda: keyed.admission.open_requests == 2, what="the retry")
        release.set()
        first.join(20)
        keyed.model.before = lambda _: None
        n_calls = len(keyed.model.calls)
        if limit == "queue":
            keyed.app._key_usage._writer.submit(lambda: None).result()
            for file in keyed.app._engine.settings.key_usage_dir.glob("*.bucket"):
                file.unlink()  # the key has audio left
            monkeypatch.setattr(keyed.admission, "_load", lambda: Load(1e9, 30))
        retry.sendall(clip[100:])
        status, body = read_answer(retry)
    code = {"audio": b"audio_limit_reached", "queue": b"overloaded"}[limit]
    assert (status, code in body) == ({"audio": 429, "queue": 503}[limit], True)
    assert len(keyed.model.calls) == n_calls
    monkeypatch.undo()
    for file in keyed.app._engine.settings.key_usage_dir.glob("*.bucket"):
        file.unlink()
    assert honest(keyed, clip, headers).status_code == 200


def test_an_hour_cut_into_clips_does_not_delay_the_clip_of_another_address():
    """The other clip waits for the running calls only, and not for the clips that were queued before it."""
    model, may_run = FakeModel(), threading.Semaphore(0)
    model.facts = replace(model.facts, threads=1)
    with serving(model, decode_batch=1, encoder_context="full", language="en") as live:
        model.calls.clear()
        model.before = lambda _: may_run.acquire(timeout=60)
        long, short = tone(29, rate=8000), tone(1)
        with attacker(live) as begin:
            clips = [begin(long, len(long))]
            until(lambda: model.calls, what="the first call")
            clips += [begin(long, len(long)) for _ in range(4)]
            may_run.release(2)
            until(lambda: len(model.calls) == 3 and live.app._engine.queue()[0] == 3, what="the first clip's end")
            answers: list[int] = []
            thread = threading.Thread(target=lambda: answers.append(honest(live, short).status_code))
            thread.start()
            until(lambda: live.app._engine.queue()[0] == 4, what="the other clip")
            may_run.release(3)  # the running call, and two for the other clip
            thread.join(10)
            assert answers == [200]
            may_run.release(99)
            assert [read_answer(peer)[0] for peer in clips] == [200] * 5
