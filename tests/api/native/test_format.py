"""/format: a transcript, as it was or edited, in another format."""

import codecs
import contextlib
import gzip
import json
import socket
import threading
import time
from typing import Any

import httpx
import psutil
import pysubs2
import pytest
from pydantic import ValidationError

from api.live import Live, read_answer, two_windows
from asr_service.api.native import formatting
from asr_service.api.native.transcript_body import TranscriptBody
from asr_service.formats import FORMATS
from waiting import until

TEXT_FORMATS = ("text", "srt", "vtt", "tsv", "lrc")


def formatted(live: Live, transcript: Any, **query: str) -> httpx.Response:
    body = transcript if isinstance(transcript, bytes) else json.dumps(transcript).encode()
    headers = {"content-type": "application/json"}
    return httpx.post(f"{live.url}/format", params=query, content=body, headers=headers, timeout=60)


def a_segment(start: float, text: str, **more: Any) -> dict[str, Any]:
    """Return a segment whose words take half a second each."""
    words = [
        {"word": f" {word}", "start": start + at / 2, "end": start + at / 2 + 0.5}
        for at, word in enumerate(text.split())
    ]
    return {"start": start, "end": words[-1]["end"], "text": f" {text}", "language": "en", "words": words, **more}


@pytest.mark.parametrize("fmt", TEXT_FORMATS)
def test_a_transcript_is_written_as_at_transcribe(live: Live, fmt: str) -> None:
    """JSON that was received and sent back gives the bytes that /transcribe would have given."""
    transcript = live.post(audio=two_windows(), word_timestamps="true").json()
    answer = formatted(live, transcript, response_format=fmt)
    direct = live.post(audio=two_windows(), word_timestamps="true", response_format=fmt)
    assert answer.status_code == 200
    assert answer.content == direct.content
    assert answer.headers["content-type"] == direct.headers["content-type"]


def test_an_edit_is_in_the_subtitles_with_the_times_of_its_words(live: Live) -> None:
    """The layout follows the rules: here at most 16 characters on one line."""
    transcript = {"segments": [a_segment(1.0, "We have corrected these words"), a_segment(9.0, "And this.")]}
    answer = formatted(live, transcript, response_format="srt", max_line_width="16", max_line_count="1")
    cues = pysubs2.SSAFile.from_string(answer.text)
    assert " ".join(cue.text for cue in cues) == "We have corrected these words And this."
    assert all(len(cue.text) <= 16 for cue in cues)
    assert (cues[0].start, cues[-1].start) == (1000, 9000)


def test_each_speaker_has_cues_and_paragraphs_of_their_own(live: Live) -> None:
    """The name is written where it changes."""
    turns = [("Ann", "Hello."), ("Ann", "Are you there?"), ("Ben Li", "Yes."), (None, "A noise.")]
    segments = [a_segment(at, text, speaker=name) for at, (name, text) in enumerate(turns)]
    text = formatted(live, {"segments": segments}, response_format="text").text
    assert text == "Ann: Hello. Are you there?\n\nBen Li: Yes.\n\nA noise.\n"
    cues = pysubs2.SSAFile.from_string(formatted(live, {"segments": segments}, response_format="srt").text)
    assert [cue.plaintext.replace("\n", " ") for cue in cues][-2:] == ["Ben Li: Yes.", "A noise."]
    assert "Ben" not in "".join(cue.plaintext for cue in cues[:-2])


def test_empty_segments_are_left_out(live: Live) -> None:
    """An editor may leave some. A transcript may have no text at all."""
    segments = [a_segment(0, "One."), {"start": 2, "end": 3, "text": " "}, a_segment(4, "Two.")]
    assert formatted(live, {"segments": segments}, response_format="tsv").text.count("\n") == 3
    assert formatted(live, {"segments": []}, response_format="vtt").text == "WEBVTT\n"


@pytest.mark.parametrize(
    ("texts", "written"),
    [
        (("Good morning.", "How are you, my", "dear friend?"), "Good morning. How are you, my dear friend?"),
        (("Good morning. ", "\nHow are you", ", my", "dear", "’s friend", "-like"), None),
        (("今日は、", "いい天気", "Python を"), "今日は、いい天気Python を"),
        (("안녕하세요.", "반갑습니다."), "안녕하세요. 반갑습니다."),
        (("He said:", "“Go.”", "(He", "left.)", "- Yes"), "He said: “Go.” (He left.) - Yes"),
    ],
)
def test_words_of_two_segments_are_not_joined(live: Live, texts: tuple[str, ...], written: str | None) -> None:
    """Segments without spaces around them, as other programs write them, are separated as their script does it."""
    segments = [{"start": at, "end": at + 1, "text": text} for at, text in enumerate(texts)]
    expected = written or "Good morning. How are you, my dear’s friend-like"
    for fmt in ("text", "srt"):
        lines = formatted(live, {"segments": segments}, response_format=fmt, **wide(fmt)).text.splitlines()
        assert " ".join(line for line in lines if line and "-->" not in line and not line.isdecimal()) == expected


def wide(fmt: str) -> dict[str, str]:
    """Return a layout with long lines and cues, if the format has one."""
    return {"max_line_width": "200", "max_cue_s": "60"} if fmt == "srt" else {}


def test_a_byte_order_mark_is_ignored(live: Live) -> None:
    """Editors on Windows write one."""
    body = codecs.BOM_UTF8 + json.dumps({"segments": [a_segment(0, "One.")]}).encode()
    assert formatted(live, body, response_format="text").text == "One.\n"


@pytest.mark.parametrize(
    ("body", "query", "status", "message"),
    [
        ({"segments": []}, {}, 400, "Field 'response_format' is required."),
        ({"segments": []}, {"response_format": "json"}, 422, "expected one of text, srt, vtt, tsv, lrc"),
        ({"segments": []}, {"response_format": "text", "max_line_width": "20"}, 422, "is only for subtitles"),
        ({}, {"response_format": "srt"}, 400, "Field 'segments' is required."),
        (b"{", {"response_format": "srt"}, 400, "The body is not JSON"),
        (b"[]", {"response_format": "srt"}, 400, "expected a JSON object"),
        (b"[" * 100_000, {"response_format": "srt"}, 400, "The body is not JSON"),
        (
            {"segments": [{"start": 0, "text": "a"}]},
            {"response_format": "srt"},
            422,
            "Field 'segments[0].end' is required.",
        ),
        (
            {"segments": [{"start": "soon", "end": 1, "text": "a"}]},
            {"response_format": "srt"},
            422,
            "segments[0].start='soon' is not valid",
        ),
        (
            {"segments": [{"start": 0, "end": 1, "text": "a"}, {"start": "1_0", "end": 11, "text": "a"}]},
            {"response_format": "srt"},
            422,
            "segments[1].start='1_0' is not valid: expected a number from 0 to 1000000",
        ),
        ({"segments": [a_segment(0, "a")], "duration": True}, {"response_format": "srt"}, 422, "duration=True"),
        (b'{"segments": [{"start": NaN, "end": 1, "text": "a"}]}', {"response_format": "srt"}, 400, "not JSON"),
        (
            {"segments": [{"start": 0, "end": 9, "text": "a " * 1_000_001}]},
            {"response_format": "text"},
            422,
            "the limit is 2000000",
        ),
        (
            {"segments": [{"start": 0, "end": 9, "text": "a " * 30_000}]},
            {"response_format": "srt", "max_line_width": "200", "max_line_count": "5"},
            422,
            "so that a cue has at most 899 columns",
        ),
        (
            {"segments": [{"start": 0, "end": 9, "text": "a " * 350_000}]},
            {"response_format": "vtt"},
            422,
            "350001 places where a line may break is too long for cues of 84 columns",
        ),
    ],
    ids=lambda value: None if isinstance(value, (bytes, dict)) else str(value)[:30],
)
def test_what_is_wrong_is_named(live: Live, body: Any, query: dict[str, str], status: int, message: str) -> None:
    answer = formatted(live, body, **query)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


def test_a_body_of_another_type_is_refused(live: Live) -> None:
    answer = live.post("/format?response_format=srt")
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_the_long_transcripts_of_one_caller_do_not_hold_up_another(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a caller's is written at a time. A client that leaves no longer waits for its turn."""
    release, write = threading.Event(), formatting._write
    began: list[bytes] = []

    def slow(body: bytes, *how: Any) -> bytes:
        if b"long" in body:
            began.append(body)
            assert release.wait(20)
        return write(body, *how)

    def send() -> socket.socket:
        body = json.dumps({"segments": [{"start": 0, "end": 1, "text": "long"}]})
        peer = live.connect()
        peer.sendall(
            b"POST /format?response_format=text HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body.encode())
        )
        return peer

    monkeypatch.setattr(formatting, "_write", slow)
    with send() as first, send() as second:
        until(lambda: began and live.admission.open_requests == 2, what="both requests")
        assert formatted(live, {"segments": []}, response_format="text").status_code == 200
        second.close()
        until(lambda: live.admission.open_requests == 1, what="the end of the second")
        release.set()
        assert read_answer(first) == (200, b"long\n")
    assert len(began) == 1


def test_bodies_that_arrive_take_no_memory(live: Live) -> None:
    """They wait on the disk: the bodies of all open requests would take 2 GiB."""
    n_bytes = 12 * 1024 * 1024
    head = b"POST /format?response_format=text HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    body = b'{"segments": []}'.ljust(n_bytes)
    before = psutil.Process().memory_info().rss
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(live.connect()) for _ in range(8)]
        for peer in peers:
            peer.sendall(head + b"Content-Length: %d\r\n\r\n" % n_bytes + body[:-1])
        assert psutil.Process().memory_info().rss - before < 5 * n_bytes
        for peer in peers:
            peer.sendall(body[-1:])
            assert read_answer(peer) == (200, b"")


def test_a_body_of_more_than_the_limit_is_refused(live: Live) -> None:
    """33 MiB of white space, which would be valid JSON."""
    answer = formatted(live, b" " * (33 * 1024 * 1024), response_format="srt")
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "upload_too_large"


def test_a_body_of_too_many_values_is_refused(live: Live) -> None:
    """To parse them would block all other requests of the slot for seconds."""
    answer = formatted(live, b'{"segments": [], "x": [%s[]]}' % (b"[]," * 1_500_000), response_format="srt")
    assert answer.status_code == 413
    assert "more than 3000000 values" in answer.json()["error"]["message"]


@pytest.mark.parametrize("words", [None, [{}, {}]])
def test_the_check_ends_at_the_first_error(words: object) -> None:
    """The errors of a million segments or words would take gigabytes."""
    segments = [{}, {}] if words is None else [{"start": 0, "end": 1, "text": "a", "words": words}]
    with pytest.raises(ValidationError) as raised:
        TranscriptBody.model_validate({"segments": segments})
    assert {error["loc"].count(1) for error in raised.value.errors()} == {0}


@pytest.mark.parametrize(("fmt", "n_segments"), [("text", 40_000), ("srt", 3000)])
@pytest.mark.parametrize("text", ["\u200b", "你", "a "], ids=["without width", "wide", "narrow"])
def test_the_time_grows_with_the_length_of_the_transcript_alone(fmt: str, n_segments: int, text: str) -> None:
    """Also for texts that nobody speaks: anyone may send one. Each pair of these segments must not cost time."""
    segments = [{"start": 0, "end": 0, "text": text}] * n_segments
    transcript = TranscriptBody.model_validate({"segments": segments}).to_transcript()
    began_s = time.process_time()
    FORMATS[fmt].render(transcript)
    assert time.process_time() - began_s < 4


@pytest.mark.parametrize("path", ["/format?response_format=text", "/v1/realtime/client_secrets"])
def test_json_with_a_content_encoding_is_refused_as_recordings_are(live: Live, path: str) -> None:
    """No endpoint decodes bodies, and the message says that the encoding is the problem, not the JSON."""
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = httpx.post(f"{live.url}{path}", content=gzip.compress(b'{"segments": []}'), headers=headers, timeout=60)
    assert answer.status_code == 400
    assert "Content-Encoding 'gzip' is not supported. Send the body as it is." in answer.text
