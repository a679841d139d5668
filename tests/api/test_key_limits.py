"""The limits of API keys. A key over its limit does not affect the others."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from api.live import ALL, Live, serving, tone
from api.test_failures import assert_error
from asr_service.access.keys import KeyLimits, entry, new_secret
from asr_service.errors import Overloaded
from waiting import until

FEW, LITTLE, FREE, BOTH = new_secret(), new_secret(), new_secret(), new_secret()
ENTRIES = ",".join(
    [
        entry("few", FEW, KeyLimits(concurrent_requests=2)),
        entry("little", LITTLE, KeyLimits(audio_s_per_minute=3)),
        entry("free", FREE),
        entry("both", BOTH, KeyLimits(concurrent_requests=1, audio_s_per_minute=3)),
    ]
)


@pytest.fixture
def limited(tmp_path, request):
    with serving(api_keys=ENTRIES, key_usage_dir=tmp_path, **getattr(request, "param", {})) as live:
        yield live


def call(live: Live, secret: str, audio: bytes = tone(), path: str = "/transcribe", **fields: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {secret}"}
    data = fields if path.startswith("/v1") else ALL | fields
    return httpx.post(f"{live.url}{path}", files={"file": audio}, data=data, headers=headers, timeout=60)


@contextmanager
def under_way(live: Live, *secrets: str) -> Iterator[list[httpx.Response]]:
    """Keep requests in the model until the context ends."""
    release, answers = threading.Event(), list[httpx.Response]()
    live.model.before = lambda _: release.wait(20)
    threads = [threading.Thread(target=lambda s=s: answers.append(call(live, s))) for s in secrets]
    for thread in threads:
        thread.start()
    until(lambda: live.admission.open_requests == len(secrets), what="the requests")
    try:
        yield answers
    finally:
        release.set()
        for thread in threads:
            thread.join(20)


def test_a_key_cannot_exceed_its_limit_of_open_requests(limited):
    """The third request gets a 429 with Retry-After. Other keys are served. A finished request frees its lease."""
    with under_way(limited, FEW, FEW) as answers:
        refused = call(limited, FEW)
        assert_error(refused, 429, "concurrency_limit_reached", None)
        assert refused.headers["retry-after"] == "2"
        assert "'few' has 2 requests open" in refused.json()["error"]["message"]
        assert call(limited, FREE, b"admitted, and not audio").status_code == 415
    assert [answer.status_code for answer in answers] == [200, 200]
    assert call(limited, FEW).status_code == 200
    assert limited.metric('asr_key_limited_total{key="few",limit="requests"}') >= 1


@pytest.mark.parametrize("failure", [{"beam_size": "x"}, {"response_format": "ndjson"}, {"audio": b"none"}])
def test_a_lease_is_returned_however_the_request_ends(limited, failure):
    """After a refused, streamed or undecodable request, the next one is admitted."""
    given = {"audio": tone(), **failure}
    for _ in range(3):
        assert call(limited, FEW, **given).status_code in {200, 415, 422}


def test_a_key_cannot_exceed_its_limit_of_audio(limited):
    """An admitted recording is transcribed to its end. Its overdraft delays the next request."""
    before = limited.metric('asr_key_audio_seconds_total{key="little"}')
    assert call(limited, LITTLE, tone(2)).status_code == 200
    assert call(limited, LITTLE, tone(9)).json()["duration"] == 9
    refused = call(limited, LITTLE)
    assert_error(refused, 429, "audio_limit_reached", None)
    assert 120 < int(refused.headers["retry-after"]) <= 180  # 8 s of debt and 1 s more, at 3 s a minute
    assert "3 seconds of audio a minute" in refused.json()["error"]["message"]
    assert call(limited, FREE, tone(9)).status_code == 200
    assert limited.metric('asr_key_audio_seconds_total{key="little"}') == before + 11
    assert limited.metric('asr_key_limited_total{key="little",limit="audio"}') >= 1


@pytest.mark.parametrize("path", ["/transcribe", "/translate", "/detect-language", "/v1/audio/transcriptions"])
def test_every_path_with_a_recording_charges_its_audio(limited, path):
    """Transcription, translation and language detection all charge the key."""
    fields = {"model": "whisper-1"} if path.startswith("/v1") else {}
    had = limited.metric('asr_key_audio_seconds_total{key="free"}')
    assert call(limited, FREE, tone(2), path, **fields).status_code == 200
    assert limited.metric('asr_key_audio_seconds_total{key="free"}') == had + 2


def test_refused_requests_are_free_and_a_503_is_refunded(limited):
    """An invalid option and bytes that are not audio cost nothing. A 500 is charged, because the work was done."""

    def fail(_):
        raise Overloaded("no memory")

    for given in ({"beam_size": "x"}, {"audio": b"no audio"}):
        for _ in range(4):
            assert call(limited, LITTLE, **given).status_code in {415, 422}
    limited.model.before = fail
    for path in ("/transcribe", "/detect-language") * 3:
        assert call(limited, LITTLE, tone(3), path).status_code == 503
    limited.model.before = lambda _: 1 / 0
    assert call(limited, LITTLE, tone(4)).status_code == 500
    assert call(limited, LITTLE).status_code == 429


@pytest.mark.parametrize("limited", [{"max_open_requests": 1}, {}], indirect=True)
def test_a_retry_that_adopts_running_work_is_always_admitted(limited):
    """The first client disconnected. Its work has used up the key's audio. The retry shares its lease and permit."""
    release, body = threading.Event(), tone(9)
    limited.model.calls.clear()
    limited.model.before = lambda _: release.wait(20)
    head = [
        "POST /transcribe?vad_filter=false HTTP/1.1", "Host: a", "Content-Type: audio/wav", "Idempotency-Key: cut-off",
        f"X-API-Key: {BOTH}", f"Content-Length: {len(body)}",
    ]  # fmt: skip
    left = 'asr_requests_total{code="499",endpoint="/transcribe"}'
    had = limited.metric(left)
    with limited.connect() as first:
        first.sendall("\r\n".join([*head, "", ""]).encode() + body)
        until(lambda: limited.model.calls, what="the first request")
    until(lambda: limited.metric(left) > had, what="the disconnect")

    def again(name: str) -> httpx.Response:
        headers = {"x-api-key": BOTH, "idempotency-key": name}
        return httpx.post(f"{limited.url}/transcribe", files={"file": body}, data=ALL, headers=headers, timeout=60)

    assert again("another").status_code in {429, 503}
    with ThreadPoolExecutor(1) as pool:
        retry = pool.submit(again, "cut-off")
        (running,) = limited.app._idempotency._running.values()
        until(lambda: running.n_waiting, what="the retry")
        assert limited.admission.open_requests == 1
        release.set()
        assert (retry.result().status_code, retry.result().headers["idempotent-replayed"]) == (200, "true")
    until(limited.idle)
    assert again("cut-off").content == retry.result().content
    assert again("another").status_code == 429
    assert len(limited.model.calls_of("generate")) == 1


def test_a_key_with_limits_is_refused_if_they_cannot_be_enforced(limited, tmp_path):
    """If the usage directory is gone, keys with limits get a 503 and keys without are served."""
    for file in tmp_path.iterdir():
        file.unlink()
    tmp_path.rmdir()
    for secret in (FEW, LITTLE):
        assert_error(call(limited, secret), 503, "unavailable", None)
    assert call(limited, FREE).status_code == 200
    tmp_path.mkdir()
