"""Responses with a transcript, whole and streamed."""

import io
import json
import threading

import httpx
import pytest
import soundfile
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from api.live import ALL, in_second_window, serving, tone, two_windows
from asr_service.api.app import openapi_schema
from asr_service.errors import Overloaded
from fakes import Call, FakeModel, writing

SCHEMA = openapi_schema()

TRANSCRIPT = {
    "text", "task", "language", "language_probability", "duration", "duration_after_vad", "model", "segments",
    "warnings", "warning_details", "timing",
}  # fmt: skip
SEGMENT = {
    "id",
    "start",
    "end",
    "text",
    "avg_logprob",
    "no_speech_prob",
    "compression_ratio",
    "temperature",
    "language",
}
TIMING = {"queue_ms", "decode_ms", "vad_ms", "inference_ms", "total_ms", "realtime_factor"}


def valid(value: object, component: str) -> bool:
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{component}", "components": SCHEMA["components"]})
    errors = [error.message for error in validator.iter_errors(value)]
    assert not errors
    return True


def test_json_has_the_documented_fields(live):
    """It has no other fields, and their types are those of the OpenAPI document."""
    answer = live.post(word_timestamps="true")
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert set(body) == TRANSCRIPT
    assert set(body["timing"]) == TIMING
    assert set(body["segments"][0]) == SEGMENT | {"words"}
    assert valid(body, "TranscriptResponse")
    assert (body["text"], body["task"], body["model"], body["duration"]) == ("hello", "transcribe", "fake", 1.0)
    assert live.post("/translate").json()["task"] == "translate"


@pytest.mark.parametrize(
    ("name", "media_type", "body"),
    [
        ("text", "text/plain; charset=utf-8", "héllo <b>\n"),
        ("srt", "application/x-subrip; charset=utf-8", "1\n00:00:00,000 --> 00:00:01,000\nhéllo <b>\n"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nhéllo &lt;b&gt;\n"),
        ("tsv", "text/tab-separated-values; charset=utf-8", "start\tend\ttext\n0\t1000\théllo <b>\n"),
        ("lrc", "text/plain; charset=utf-8", "[00:00.00]héllo <b>\n"),
    ],
)
def test_each_text_format_has_its_media_type(live, name, media_type, body):
    """The body is UTF-8."""
    live.model.script = writing(" héllo <b>")
    answer = live.post(response_format=name)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.content.decode() == body


def test_lines_arrive_while_later_audio_is_transcribed(live):
    """The client reads the first line before the second window is decoded. A closing line ends the stream."""
    may_go_on = threading.Event()
    live.model.before = lambda call: _wait(may_go_on) if in_second_window(call) else None
    fields, audio = {**ALL, "response_format": "ndjson"}, {"file": two_windows()}
    with httpx.stream("POST", f"{live.url}/transcribe", data=fields, files=audio, timeout=60) as answer:
        lines = answer.iter_lines()
        first = json.loads(next(lines))
        assert not may_go_on.is_set()
        may_go_on.set()
        second, last = map(json.loads, lines)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-accel-buffering"] == "no"
    assert [line["type"] for line in (first, second, last)] == ["segment", "segment", "transcript"]
    assert set(first) == SEGMENT | {"type"}
    assert set(last) == TRANSCRIPT - {"segments"} | {"type"}
    assert (first["id"], second["id"], second["start"] > 0, last["text"]) == (0, 1, True, "hello hello")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (RuntimeError("broken"), "inference_failed"),
        (Overloaded("no memory"), "overloaded"),
    ],
)
def test_a_failed_stream_ends_with_an_error_line(live, fault, code):
    """The status was sent before. The line has the shape of every error."""

    def before(call: Call) -> None:
        if in_second_window(call):
            raise fault

    live.model.before = before
    failures = f'asr_request_failures_total{{reason="{code}"}}'
    had = live.metric(failures)
    with capture_logs(processors=[merge_contextvars]) as lines:
        answer = live.post(audio=two_windows(), response_format="ndjson")
    first, last = map(json.loads, answer.text.splitlines())
    assert (answer.status_code, first["type"], last["type"]) == (200, "segment", "error")
    assert last["error"]["code"] == code
    assert valid({"error": last["error"]}, "ErrorResponse")
    assert live.metric(failures) == had + 1
    own = [line for line in lines if line["event"] == "request failed"]
    assert [(line["cause"], line["request_id"]) for line in own] == (
        [(repr(fault), answer.headers["x-request-id"])] if code == "inference_failed" else []
    )


def test_a_stream_without_speech_is_a_closing_line(live):
    """Silence has an empty transcript and no segment lines."""
    (line,) = live.post(vad_filter="true", response_format="ndjson").text.splitlines()
    assert (json.loads(line)["type"], json.loads(line)["text"]) == ("transcript", "")


def test_a_stream_of_a_recording_that_is_too_long_ends_with_an_error_line():
    """The length was unknown at the start. The error has the type of a client error."""
    flac = io.BytesIO()
    samples, rate = soundfile.read(io.BytesIO(tone(130, rate=8000)))
    soundfile.write(flac, samples, rate, format="FLAC")
    audio = bytearray(flac.getvalue())
    audio[21] &= 0xF0
    audio[22:26] = bytes(4)  # no number of samples, as of a writer that could not seek back
    with serving(max_audio_s=100, block_length_s=60) as live:
        answer = live.post(audio=bytes(audio), response_format="ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert {line["type"] for line in lines[:-1]} == {"segment"}
    assert (lines[-1]["error"]["code"], lines[-1]["error"]["type"]) == ("audio_too_long", "invalid_request_error")


def test_a_damaged_recording_has_a_partial_transcript_and_a_warning(live):
    """Half of a WAV file gives half of the transcript, and a warning says what is missing."""
    body = live.post(audio=tone(4)[:-64_000]).json()
    assert body["duration"] == pytest.approx(2, abs=0.05)
    assert body["warnings"] == ["The file ends early: its header declares 4.0 s, 2.0 s are present."]
    assert body["warning_details"] == [{"code": "ends_early", "values": {"present_s": 2.0, "declared_s": 4.0}}]


def test_nan_from_the_model_is_null():
    """A half-precision model can return NaN, which JSON does not have."""
    with serving(FakeModel(script=writing(" hello", no_speech_prob=float("nan")))) as live:
        body = live.post().json()
    assert body["segments"][0]["no_speech_prob"] is None
    assert valid(body, "TranscriptResponse")


def _wait(event: threading.Event) -> None:
    assert event.wait(20)
