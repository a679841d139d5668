"""Every error response has one shape, and no input causes a server error."""

import contextlib
import errno
import gzip
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import structlog

from api.live import ALL, Live, in_second_window, read_answer, serving, tone, two_windows
from asr_service.api.native.schemas import ErrorResponse
from asr_service.api.problems import STATUS, problem
from asr_service.errors import AsrError, Overloaded
from fakes import FakeModel, sleeping
from waiting import until

BOUNDARY = "multipart/form-data; boundary=xx"
FILE = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + tone(0.1) + b"\r\n"
END = b"--xx--\r\n"


def field(name: bytes, value: bytes) -> bytes:
    return b'--xx\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)


def form(*parts: bytes, content_type: str = BOUNDARY, path: str = "/transcribe"):
    headers = {b"content-type": content_type.encode("latin-1")}
    return lambda live: httpx.post(f"{live.url}{path}", content=b"".join(parts), headers=headers, timeout=60)


def body(content: bytes, content_type: str = "audio/wav", query: str = "?vad_filter=false"):
    return form(content, content_type=content_type, path="/transcribe" + query)


def options(**fields: str):
    return lambda live: live.post(**fields)


def request(method: str, path: str):
    return lambda live: httpx.request(method, f"{live.url}{path}")


HEAD = "POST /transcribe HTTP/1.1\r\nHost: a\r\nContent-Type: audio/wav\r\nContent-Length: {}\r\n\r\n"


def announcing(n_bytes: int | str, start: bytes = b""):
    """Send a request with this Content-Length, and only the start of its body."""

    def send(live: Live) -> httpx.Response:
        status, content = live.raw(HEAD.format(n_bytes).encode() + start)
        return httpx.Response(status, content=content)

    return send


def dripping(live: Live) -> httpx.Response:
    """Send a body too slowly, but without a long pause."""
    stopped = threading.Event()

    def drip(peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not stopped.wait(0.05):
                peer.sendall(b"\0")

    with live.connect() as peer:
        peer.sendall(HEAD.format(99_999).encode())
        dripper = threading.Thread(target=drip, args=[peer])
        dripper.start()
        try:
            status, content = read_answer(peer)
        finally:
            stopped.set()
            dripper.join(20)
    return httpx.Response(status, content=content)


def overlong_in_chunks(live: Live) -> httpx.Response:
    """Send a body of unknown length that exceeds the limit."""
    parts = (bytes(50_000) for _ in range(8))
    return httpx.post(f"{live.url}/transcribe", content=parts, headers={"content-type": "audio/wav"})


def failing(live: Live) -> httpx.Response:
    def before(_):
        raise ValueError("broken")

    live.model.before = before
    return live.post()


def slow(live: Live) -> httpx.Response:
    live.model.before = sleeping(1.5)
    return live.post()


MALFORMED = (400, "malformed_request")
REFUSED = (422, "invalid_parameter")
NO_AUDIO = (415, "unsupported_audio")
CASES = {
    "GET on /transcribe": (request("GET", "/transcribe"), 405, "method_not_allowed", None),
    "PUT on /health": (request("PUT", "/health"), 405, "method_not_allowed", None),
    "unknown path": (request("POST", "/transcribe/x"), 404, "not_found", None),
    "a path without /v1": (request("POST", "/audio/transcriptions"), 404, "not_found", None),
    "a compressed form": (
        lambda live: httpx.post(
            f"{live.url}/transcribe",
            content=gzip.compress(FILE + END),
            headers={"content-type": BOUNDARY, "content-encoding": "gzip"},
        ),
        *NO_AUDIO, None,
    ),
    "a body that never begins": (form(b"a" * 9000), *MALFORMED, None),
    "no form": (form(b"a=b", content_type="application/x-www-form-urlencoded"), *NO_AUDIO, None),
    "no content type": (form(b"", content_type=""), *NO_AUDIO, None),
    "garbage content type": (form(FILE, END, content_type=";;\xff=,/"), *NO_AUDIO, None),
    "no boundary": (form(FILE, END, content_type="multipart/form-data"), *MALFORMED, None),
    "empty boundary": (form(FILE, END, content_type="multipart/form-data; boundary="), *MALFORMED, None),
    "another boundary": (form(FILE, END, content_type="multipart/form-data; boundary=yy"), *MALFORMED, None),
    "an encoded file": (
        form(FILE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1), END), *MALFORMED, None,
    ),
    "an encoded field": (
        form(FILE, field(b"hotwords", b"=41").replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: "
             b"Quoted-Printable\r\n\r\n", 1), END), *MALFORMED, None,
    ),
    "odd charset": (form(FILE, END, content_type=BOUNDARY + "; charset=undefined"), *MALFORMED, None),
    "charset that decodes to half a character": (
        form(FILE, field(b"+2AA-", b"1"), END, content_type=BOUNDARY + "; charset=utf-7"), *MALFORMED, None,
    ),
    "charset that is slow to decode": (
        form(FILE, field(b"hotwords", b"ba-" * 20_000), END, content_type=BOUNDARY + "; charset=punycode"),
        *MALFORMED, None,
    ),
    "a recording's part without a filename": (
        form(FILE.replace(b'; filename="a.wav"', b"").replace(tone(0.1), tone(3)), END), *MALFORMED, None,
    ),
    "truncated form": (form(FILE[:-200]), *MALFORMED, None),
    "form without its last line": (form(FILE), *MALFORMED, None),
    "empty form": (form(END), *MALFORMED, "file"),
    "empty body of a form": (form(b""), *MALFORMED, None),
    "part without a name": (form(b"--xx\r\nX: y\r\n\r\nabc\r\n", END), *MALFORMED, None),
    "two files": (form(FILE, FILE, END), *MALFORMED, "file"),
    "file and audio": (form(FILE, FILE.replace(b'"file"', b'"audio"'), END), *MALFORMED, "file"),
    "file in a field of another name": (form(FILE.replace(b'"file"', b'"recording"'), END), *MALFORMED, "file"),
    "text instead of a file": (form(field(b"file", b"@a.wav"), END), *MALFORMED, "file"),
    "no file": (form(field(b"language", b"en"), END), *MALFORMED, "file"),
    "a field twice": (form(FILE, field(b"task", b"translate") * 2, END), *MALFORMED, "task"),
    "a field in form and query": (
        form(FILE, field(b"language", b"en"), END, path="/transcribe?language=en"), *MALFORMED, "language",
    ),
    "a thousand fields": (form(FILE, *(field(b"f%d" % i, b"") for i in range(1000)), END), *MALFORMED, None),
    "a field over 64 kB": (form(FILE, field(b"hotwords", b"a" * 70_000), END), *MALFORMED, None),
    "a prompt over 4000 letters": (options(initial_prompt="a" * 4001), *REFUSED, "initial_prompt"),
    "a field name of 10 kB": (form(FILE, field(b"a" * 10_000, b"1"), END), *MALFORMED, None),
    "unknown field": (options(langauge="en"), *REFUSED, "langauge"),
    "unknown field in the query": (body(tone(), query="?beamsize=2"), *REFUSED, "beamsize"),
    "field without a name": (form(FILE, field(b"", b"1"), END), *REFUSED, ""),
    "field name that is not UTF-8": (form(FILE, field(b"\xff\xfe", b"1"), END), *REFUSED, "ÿþ"),
    "value that is not UTF-8": (form(FILE, field(b"language", b"\xff"), END), *REFUSED, "language"),
    "not a number": (options(beam_size="five"), *REFUSED, "beam_size"),
    "not a whole number": (options(beam_size="1.5"), *REFUSED, "beam_size"),
    "number out of range": (options(beam_size="11"), *REFUSED, "beam_size"),
    "a number of 5000 digits": (options(beam_size="9" * 5000), *REFUSED, "beam_size"),
    "NaN": (options(temperature="nan"), *REFUSED, "temperature"),
    "infinity": (options(vad_threshold="inf"), *REFUSED, "vad_threshold"),
    "1e400": (options(vad_threshold="1e400"), *REFUSED, "vad_threshold"),
    "not a boolean": (options(word_timestamps="perhaps"), *REFUSED, "word_timestamps"),
    "not a format": (options(response_format="xml"), *REFUSED, "response_format"),
    "not a task": (options(task="summarise"), *REFUSED, "task"),
    "not a language": (options(language="Klingon"), *REFUSED, "language"),
    "task=transcribe at /translate": (lambda live: live.post("/translate", task="transcribe"), *REFUSED, "task"),
    "zero bytes in a form": (lambda live: live.post(audio=b""), *NO_AUDIO, None),
    "zero bytes": (body(b""), *NO_AUDIO, None),
    "text": (body(b"Not a recording at all. " * 99), *NO_AUDIO, None),
    "a playlist": (body(b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n"), *NO_AUDIO, None),
    "a web page": (body(b"<!doctype html><script>alert(1)</script>"), *NO_AUDIO, None),
    "WAV file with only a header": (body(tone(0.1)[:20]), 422, "undecodable_audio", None),
    "upload that stalls": (announcing(999, b"RIFF"), 408, "upload_too_slow", None),
    "upload that is too slow": (dripping, 408, "upload_too_slow", None),
    "body of exactly the limit": (body(bytes(200_000)), *NO_AUDIO, None),
    "body over the limit": (body(bytes(200_001)), 413, "upload_too_large", None),
    "form over the limit": (lambda live: live.post(audio=bytes(200_001)), 413, "upload_too_large", None),
    "Content-Length over the limit": (announcing(200_001), 413, "upload_too_large", None),
    "Content-Length of too many digits": (announcing("0" * 5000 + "1"), 400, "malformed_request", "Content-Length"),
    "chunked body over the limit": (overlong_in_chunks, 413, "upload_too_large", None),
    "recording over the limit": (body(tone(5)), 413, "audio_too_long", None),
    "a model that fails": (failing, 500, "inference_failed", None),
    "a model that is too slow": (slow, 504, "deadline_exceeded", None),
}  # fmt: skip


def assert_error(answer: httpx.Response, status: int, code: str, param: str | None) -> None:
    assert answer.status_code == status, answer.text
    ErrorResponse.model_validate_json(answer.content, strict=True)
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    assert 10 < len(error["message"]) < 600  # the codes of all languages have 400


@pytest.mark.parametrize("case", CASES)
def test_a_failure_has_the_shape_of_every_error(tight, case):
    """The body is {"error": {message, type, param, code}}, the status follows from the cause, and no resource leaks."""
    send, status, code, param = CASES[case]
    assert_error(send(tight), status, code, param)


@pytest.mark.parametrize("path", ["/transcribe", "/v1/audio/transcriptions"])
def test_a_request_that_is_too_long_for_one_answer_is_told_of_streams_and_jobs(tight, path):
    """The deadline does not grow with the recording: proxies and clients would not wait. A stream has none."""
    tight.model.before = sleeping(1.5)
    fields = {"model": "whisper-1"} if path.startswith("/v1") else {}
    answer = tight.post(path, **fields)
    assert_error(answer, 504, "deadline_exceeded", None)
    for way in ("ASR_REQUEST_TIMEOUT_S", "response_format=ndjson", "stream=true", "POST /jobs"):
        assert way in answer.json()["error"]["message"]


def test_every_error_type_has_a_status():
    """A new error type cannot become a 500 by accident."""
    import asr_service.errors as module

    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, AsrError)]
    for_callers = [kind for kind in kinds if kind is not AsrError and not issubclass(kind, module.StartupError)]
    in_live_sessions_only = {module.EmptyBuffer, module.SessionExpired}
    assert set(for_callers) - in_live_sessions_only == set(STATUS)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"langauge": "en"}, "Unknown field 'langauge'. Did you mean language?"),
        ({"zzz": "1"}, "Unknown field 'zzz'. Known fields: response_format, language, "),
        ({"language": "portugese"}, "Did you mean 'portuguese'?"),
        ({"beam_size": "11"}, "beam_size=11 is not valid: expected a whole number from 1 to 10."),
    ],
)
def test_a_refusal_says_what_to_change(live, fields, expected):
    """The message has the nearest name, the bound or the list of names."""
    assert expected in live.post(**fields).json()["error"]["message"]
    assert not live.model.calls


@pytest.mark.parametrize(
    ("content", "boundary", "reason"),
    [
        (
            FILE.replace(b"a.wav", b"a" * 10_000) + END,
            b"xx",
            "A header of a part is too long. Send a shorter file name.",
        ),
        (FILE.replace(b"\r\n\r\n", b"\r\nX: y" * 9 + b"\r\n\r\n", 1) + END, b"xx", "Maximum header count exceeded."),
        (FILE.replace(b"xx", b"x" * 300), b"x" * 300, "Boundary length 300 exceeds maximum of 256."),
        (FILE.replace(b"\r\n", b"\n") + END, b"xx", "Did not find CR at end of boundary (4)."),
    ],
    ids=["long-file-name", "many-headers", "long-boundary", "lines-without-cr"],
)
def test_a_form_that_cannot_be_parsed_is_refused_with_the_reason(live, content, boundary, reason):
    """The person who wrote the client learns what is wrong with it."""
    answer = form(content, content_type=f"multipart/form-data; boundary={boundary.decode()}")(live)
    assert_error(answer, *MALFORMED, None)
    assert answer.json()["error"]["message"] == f"The form cannot be parsed: {reason}"


def test_an_empty_field_counts_as_left_out(live):
    """Web forms send all of their fields."""
    empty = dict.fromkeys(["language", "beam_size", "temperature", "word_timestamps", "response_format"], "")
    assert live.post(**empty).status_code == 200


def test_an_unexpected_error_has_the_shape_of_every_error(live, monkeypatch):
    """It is a 500 without details. The log has the traceback once, with the request id."""
    monkeypatch.setattr("asr_service.api.native.routes.parse_parameters", lambda _: 1 / 0)
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        answer = live.post()
    assert_error(answer, 500, "internal_error", None)
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["exc_info"], line["request_id"]) == (True, answer.headers["x-request-id"])


def raising(number: int) -> Callable[[object], None]:
    def parse(_: object) -> None:
        raise OSError(number, os.strerror(number))

    return parse


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_lack_of_descriptors_passes(live, monkeypatch, number):
    """Wherever it is met, it is a 503 with Retry-After, and the log has one line without a traceback."""
    monkeypatch.setattr("asr_service.api.native.routes.parse_parameters", raising(number))
    with structlog.testing.capture_logs() as lines:
        answer = live.post()
    assert_error(answer, 503, "unavailable", None)
    assert answer.headers["retry-after"] == "5"
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert "no free file descriptors" in line["event"]
    assert "exc_info" not in line


def test_another_error_of_the_system_is_an_unexpected_error(live, monkeypatch):
    """It is a 500, because the service does not know whether the error will end."""
    monkeypatch.setattr("asr_service.api.native.routes.parse_parameters", raising(errno.EIO))
    assert_error(live.post(), 500, "internal_error", None)


def test_a_failure_of_the_model_is_logged_with_the_request_id(live):
    """The response has no details, but the request id with which an operator finds them."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        answer = failing(live)
    assert_error(answer, 500, "inference_failed", None)
    logged_ids = {line.get("request_id") for line in lines if line["log_level"] == "error"}
    assert answer.headers["x-request-id"] in logged_ids


def test_retry_after_is_rounded_up():
    """Retry-After has whole seconds."""
    assert problem(Overloaded("The queue is full.", retry_after_s=1.2)).headers["retry-after"] == "2"


def test_an_unwritable_disk_is_a_503(live, monkeypatch):
    """The client may retry an upload that could not be stored."""
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    for answer in (live.post(audio=tone(0.1)), live.post(audio=tone(60)), body(tone(0.1))(live)):
        assert_error(answer, 503, "unavailable", None)
        assert 1 <= int(answer.headers["retry-after"]) <= 120


def test_a_disk_that_fills_up_is_a_503(live, monkeypatch):
    """The write may fail early, late or when the file is closed."""
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *_, **__: Path("/dev/full").open("w+b"))  # noqa: SIM115
    for answer in (live.post(audio=tone(0.1)), live.post(audio=tone(60)), body(tone(0.1))(live), body(tone(60))(live)):
        assert_error(answer, 503, "unavailable", None)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/transcribe", "POST"),
        ("/health", "GET, HEAD"),
        ("/jobs", "GET, HEAD, POST"),
        ("/jobs/job_1", "DELETE, GET, HEAD"),
        ("/v1/models/openai/whisper-base", "GET, HEAD"),
    ],
)
def test_a_405_has_the_allow_header(live, path, allowed):
    """RFC 9110 requires it, with every method of the path, and the message names the methods too."""
    answer = httpx.put(f"{live.url}{path}")
    assert answer.headers["allow"] == allowed
    assert answer.json()["error"]["message"] == f"Method PUT is not allowed for {path}; use {allowed}."


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/docs", "/docs/swagger-ui.css", "/nowhere", "/transcribe"])
def test_head_is_get_without_a_body(live, path):
    """Status and type are the same, and the connection stays usable. Uptime monitors and `curl -I` send HEAD."""
    with httpx.Client(base_url=live.url) as client:
        head, got = client.head(path), client.get(path)
    assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert head.content == b""


def test_a_raw_upload_with_an_invalid_option_is_refused_before_its_body(live):
    """All fields are in the query, so the 422 arrives though the client sent only its headers."""
    status, content = live.raw(HEAD.format(99_999).replace("/transcribe", "/transcribe?beam_size=0").encode())
    assert_error(httpx.Response(status, content=content), 422, "invalid_parameter", "beam_size")


# -- Unavailable


@contextmanager
def saturated(live: Live, n_requests: int) -> Iterator[None]:
    """Keep requests in the model until the context ends."""
    release = threading.Event()
    live.model.before = lambda _: release.wait(20)
    requests = [threading.Thread(target=live.post) for _ in range(n_requests)]
    for request in requests:
        request.start()
    try:
        yield
    finally:
        release.set()
        for request in requests:
            request.join(20)


def test_a_full_slot_refuses_before_it_reads_the_body():
    """A client that sent only its headers gets a 503 with Retry-After."""
    with serving(max_open_requests=1) as live, saturated(live, 1):
        until(lambda: live.admission.open_requests == 1, what="the request")
        assert_error(announcing(99_999)(live), 503, "overloaded", None)
        answer = live.post()
        assert_error(answer, 503, "overloaded", None)
        assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert live.get("/health").json()["queue"]["open_requests"] == 1


def test_a_long_queue_refuses_requests():
    """The seconds of audio in the queue are limited, as the number of requests is."""
    with serving(max_queued_audio_s=1) as live, saturated(live, 6):
        # Four of the six seconds, because the model may have taken two of them.
        until(lambda: live.app._engine.queue()[1] > 3, what="a queue")
        assert_error(live.post(), 503, "overloaded", None)


def test_a_loading_slot_responds_503():
    """/health has all its fields and the reason, /health/live is 200, and all else has Retry-After."""
    loaded = threading.Event()

    def load(*_):
        assert loaded.wait(20)
        return FakeModel()

    with serving(load=load, ready=False) as live:
        failures = 'asr_request_failures_total{reason="not_ready"}'
        had = live.metric(failures)
        health = live.get("/health")
        assert (health.status_code, health.json()["status"], health.json()["model_loaded"]) == (503, "loading", False)
        assert "model" in health.json()["reason"]
        assert live.get("/health/live").status_code == 200
        for answer in (live.get("/health/ready"), live.post()):
            assert_error(answer, 503, "not_ready", None)
            assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert_error(announcing(99_999)(live), 503, "not_ready", None)
        assert live.metric(failures) == had + 2  # failed probes are not counted
        loaded.set()
        until(lambda: live.app.ready, what="the model")
        ready = live.get("/health")
        assert (ready.status_code, ready.json()["status"], ready.json()["reason"]) == (200, "ok", None)
        assert set(ready.json()) == set(health.json())
        assert live.get("/health/ready").status_code == 200


def test_a_draining_slot_finishes_accepted_requests_and_refuses_new_ones():
    """A new request gets a 503. The accepted one gets its transcript."""
    with serving() as live:
        release = threading.Event()
        live.model.before = lambda _: release.wait(20)
        answers: list[httpx.Response] = []
        accepted = threading.Thread(target=lambda: answers.append(live.post()))
        accepted.start()
        until(lambda: live.app.busy, what="the request")
        live.app.begin_drain()
        assert_error(live.post(), 503, "not_ready", None)
        assert live.get("/health").json()["status"] == "draining"
        assert live.app.busy
        release.set()
        accepted.join(20)
        assert answers[0].json()["text"] == "hello"
        assert not live.app.busy


# -- Deadlines


def test_the_upload_does_not_count_against_the_deadline(tight):
    """A slow upload that never stalls leaves the whole second for the response."""

    def drip() -> Iterator[bytes]:
        for at in range(0, 32_000, 4_000):
            time.sleep(0.2)  # longer than the deadline as a whole, and shorter than the timeout for each part
            yield tone()[at : at + 4_000]

    answer = httpx.post(f"{tight.url}/transcribe", params=ALL, content=drip(), headers={"content-type": "audio/wav"})
    assert answer.status_code == 200


def test_a_stream_has_a_deadline_for_each_line():
    """The whole stream may take longer than a request may, if each window does not."""
    with serving(FakeModel(before=sleeping(0.7)), request_timeout_s=2, decode_batch=1) as live:
        assert live.post(audio=tone(240, rate=8000)).status_code == 504
        answer = live.post(audio=tone(240, rate=8000), response_format="ndjson")
    assert [line for line in answer.text.splitlines() if '"type":"transcript"' in line]


def test_a_stream_ends_if_a_line_misses_its_deadline():
    """The error line has the code deadline_exceeded."""
    with serving(request_timeout_s=1) as live:
        live.model.before = lambda call: time.sleep(1.5 if in_second_window(call) else 0)
        answer = live.post(audio=two_windows(), response_format="ndjson")
    assert answer.text.startswith('{"type":"segment"')
    assert '"code":"deadline_exceeded"' in answer.text.splitlines()[-1]
