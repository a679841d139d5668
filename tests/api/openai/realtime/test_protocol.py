"""The events of a session: their order, their fields, and the errors, which leave the session open."""

import asyncio
import base64
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.live import Live
from api.openai.realtime.client import SECOND, Event, RealtimeClient, raw_connection, raw_event, realtime
from api.openai.realtime.scripted import Sessions, transcript
from asr_service.access.usage import KeyUsage
from asr_service.api.openai.realtime import connection, routes
from asr_service.api.openai.realtime.client_events import read_event
from asr_service.api.openai.realtime.configuration import Configuration
from asr_service.engine.pipeline.live.events import (
    EndReason,
    IdleTimeout,
    SessionEnded,
    TextDelta,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    TurnStopped,
)
from asr_service.engine.pipeline.live.options import Delay, ServerVad
from asr_service.errors import EngineStopped, InferenceFailed, InvalidParameter, Overloaded
from waiting import until

SDK: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)
TURN = [
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
]
DEFAULTS: Event = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {
                "model": "fake",
                "language": None,
                "languages": [],
                "prompt": None,
                "keywords": [],
                "delay": "medium",
            },
            "noise_reduction": None,
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
                "idle_timeout_ms": None,
            },
        }
    },
    "include": [],
}


def turn(client: RealtimeClient) -> list[Event]:
    """Send a second, commit it, and return the events of the turn."""
    client.append()
    client.commit()
    client.until(TURN[-1])
    return client.received[-len(TURN) :]


def test_a_session_begins_with_its_whole_configuration(client):
    """It has an id, and the time at which it ends."""
    session = client.received[0]["session"]
    assert session.pop("id").startswith("sess_")
    assert session.pop("expires_at") > 1_700_000_000
    assert session.pop("object") == "realtime.transcription_session"
    assert session == DEFAULTS


def test_the_events_of_a_turn_come_in_order(client):
    """Each turn names the one before. The SDK's own types accept every event, and each has its own id."""
    first, second = turn(client), turn(client)
    assert [event["type"] for event in first] == [event["type"] for event in second] == TURN
    assert (first[0]["previous_item_id"], second[0]["previous_item_id"]) == (None, first[0]["item_id"])
    assert first[0]["item_id"].startswith("item_")
    for event in (*first, *second):
        assert SDK.validate_python(event).type == event["type"]
    assert {event.get("item_id") or event["item"]["id"] for event in first} == {first[0]["item_id"]}
    assert len({event["event_id"] for event in client.received}) == len(client.received)
    assert first[1]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert (first[3]["content_index"], first[3]["delta"]) == (0, "hello")
    completed = first[4]
    assert completed["transcript"] == "hello there"
    assert completed["usage"] == {"type": "duration", "seconds": 1.25}
    assert completed["languages"] == [{"code": "en"}]
    assert not {"logprobs", "segments", "words"} & completed.keys()


def test_other_events_of_the_engine_have_their_counterparts(client, sessions):
    """Speech that begins and ends, a failed turn, silence for too long, and a cleared buffer."""
    sessions.last.emit(
        TurnStarted("a", 100),
        TextDelta("a", " hi"),
        TurnStopped("a", 900),
        TurnFailed("a", InferenceFailed("The model failed.")),
        IdleTimeout("b", 900, 6900),
    )
    client.send("input_audio_buffer.clear")
    client.until("input_audio_buffer.cleared")
    events = [{**event, "event_id": "e"} for event in client.received[1:]]
    for event in events:
        SDK.validate_python(event)
    transcription = "conversation.item.input_audio_transcription"
    error = {"type": "server_error", "code": "inference_failed", "message": "The model failed.", "param": None}
    a = {"event_id": "e", "item_id": "item_a"}
    assert events == [
        {"type": "input_audio_buffer.speech_started", "audio_start_ms": 100, **a},
        {"type": f"{transcription}.delta", "content_index": 0, "delta": " hi", **a},
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 900, **a},
        {"type": f"{transcription}.failed", "content_index": 0, "error": error, **a},
        {
            "type": "input_audio_buffer.timeout_triggered", "event_id": "e", "item_id": "item_b",
            "audio_start_ms": 900, "audio_end_ms": 6900,
        },
        {"type": "input_audio_buffer.cleared", "event_id": "e"},
    ]  # fmt: skip


def test_an_update_changes_what_it_names(client, sessions):
    """What it leaves out keeps its value, null clears, and another type begins with its own defaults."""
    updated = client.update(
        format={"type": "audio/pcm", "rate": 16000},
        transcription={"language": "German", "prompt": "Rosebud", "keywords": ["Kane", "Xanadu"], "delay": "high"},
        turn_detection={"type": "server_vad", "silence_duration_ms": 350, "threshold": 0.6},
    )
    assert updated["session"]["audio"]["input"]["transcription"]["language"] == "German"
    options = sessions.last.options[-1]
    assert options.turn_detection == ServerVad(threshold=0.6, silence_duration_ms=350)
    assert (options.decoding.language, options.decoding.initial_prompt) == ("de", "Rosebud")
    assert (options.decoding.hotwords, options.delay) == ("Kane, Xanadu", Delay.HIGH)
    session = client.update(transcription={"prompt": None}, turn_detection={"threshold": 0.7})["session"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 16000}
    assert session["audio"]["input"]["transcription"]["prompt"] is None
    assert session["audio"]["input"]["transcription"]["keywords"] == ["Kane", "Xanadu"]
    assert sessions.last.options[-1].turn_detection == ServerVad(threshold=0.7, silence_duration_ms=350)
    session = client.update(turn_detection={"type": "semantic_vad", "eagerness": "high"})["session"]
    assert session["audio"]["input"]["turn_detection"] == {"type": "semantic_vad", "eagerness": "high"}
    assert sessions.last.options[-1].turn_detection == ServerVad(silence_duration_ms=300)
    session = client.update(turn_detection=None, transcription=None, format=None)["session"]
    assert sessions.last.options[-1].turn_detection is None
    assert session["audio"]["input"] == DEFAULTS["audio"]["input"] | {"turn_detection": None}
    assert client.update()["session"]["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize("model", ["gpt-realtime-whisper", "gpt-live-transcribe"])
def test_models_without_turn_detection_begin_without_it(live, client, sessions, model):
    """Their clients leave the field out and commit by themselves. A client that sets it has its way."""
    client.update(transcription={"model": model})
    assert sessions.last.options[-1].turn_detection is None
    client.update(transcription={"model": model}, turn_detection={"type": "server_vad"})
    client.update(transcription={"prompt": "Rosebud"})
    client.update(transcription={"model": model, "language": "de"})
    assert sessions.last.options[-1].turn_detection == ServerVad()
    with realtime(live.url, f"?model={model}"):
        assert sessions.last.options[-1].turn_detection is None


def test_languages_are_candidates(client, sessions):
    """A single one is the language. Several are what the detection chooses among."""
    client.update(transcription={"languages": ["German"]})
    assert sessions.last.options[-1].decoding.language == "de"
    client.update(transcription={"languages": ["de", "fr"]})
    assert sessions.last.options[-1].decoding.languages == ("de", "fr")


def test_fields_without_effect_are_accepted_and_listed(client):
    """Clients send what OpenAI supports, and some drop the session on an error."""
    client.send(
        "session.update",
        session={
            "type": "transcription",
            "audio": {
                "input": {
                    "noise_reduction": {"type": "near_field"},
                    "turn_detection": {"type": "server_vad", "create_response": False},
                },
                "output": {"voice": "alloy"},
            },
            "include": ["item.input_audio_transcription.logprobs", "item.unknown", {}],
            "tracing": "auto",
        },
    )
    session = client.until("session.updated")["session"]
    assert session["unsupported"] == [
        "audio.input.noise_reduction",
        "audio.input.turn_detection.create_response",
        "audio.output",
        "include.item.unknown",
        "tracing",
    ]
    assert session["audio"]["input"]["noise_reduction"] is None
    assert session["include"] == ["item.input_audio_transcription.logprobs"]


def test_included_details_are_in_the_completed_event(client, sessions):
    """Probabilities are those of words. Times are seconds of the session's audio."""
    names = ("logprobs", "segments", "words")
    client.update(include=[f"item.input_audio_transcription.{name}" for name in names])
    assert sessions.last.options[-1].decoding.word_timestamps
    completed = turn(client)[-1]
    assert completed["logprobs"] == [
        {"token": " hello", "bytes": list(b" hello"), "logprob": -0.6931},
        {"token": " there", "bytes": list(b" there"), "logprob": 0.0},
    ]
    assert completed["segments"] == [{"text": "hello there", "start": 0.25, "end": 1.0}]
    assert completed["words"][0] == {"word": "hello", "start": 0.25, "end": 0.5}


def test_a_turn_without_word_times_has_no_field_for_them(client, sessions):
    """It began before they were included. An empty list would mean that it has no words."""
    client.update(include=["item.input_audio_transcription.logprobs", "item.input_audio_transcription.words"])
    spoken = transcript()
    without = replace(spoken, segments=(replace(spoken.segments[0], words=None),))
    sessions.last.emit(TurnCompleted("a", without, 1.25), TurnCompleted("b", replace(spoken, segments=()), 1.25))
    first, second = client.until(TURN[-1]), client.until(TURN[-1])
    assert not {"logprobs", "words"} & first.keys()
    assert (second["logprobs"], second["words"]) == ([], [])


@pytest.mark.parametrize(
    ("sent", "code", "param", "said"),
    [
        ("{", "malformed_request", None, "not valid JSON"),
        ("[1]", "malformed_request", None, "a JSON object"),
        (b"\0\0", "malformed_request", None, "not a binary message"),
        ('{"event_id": "e"}', "malformed_request", "type", "'type' is required"),
        ({"type": "input_audio_buffer.appendd"}, "invalid_parameter", "type", "Did you mean input_audio_buffer.append"),
        ({"type": "response.create"}, "invalid_parameter", "type", "a transcription session"),
        ({"type": "transcription_session.update"}, "invalid_parameter", "type", "the beta of the Realtime API"),
        ({"type": "input_audio_buffer.append"}, "malformed_request", "audio", "'audio' is required"),
        ({"type": "input_audio_buffer.append", "audio": "%%%"}, "invalid_parameter", "audio", "not valid base64"),
        ({"type": "input_audio_buffer.append", "audio": 1}, "invalid_parameter", "audio", "text"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None, "100 ms"),
        ({"type": "input_audio_buffer.clear", "event_id": "e" * 513}, "invalid_parameter", "event_id", "512"),
        ({"type": "session.update"}, "malformed_request", "session", "'session' is required"),
        (f"[{'[],' * 10_000}[]]", "malformed_request", None, "more than 20000 values"),
    ],
    ids=range(14),
)  # fmt: skip
def test_an_error_repeats_the_id_of_its_event_and_leaves_the_session_open(client, sent, code, param, said):
    """A malformed event has no effect on the ones after it."""
    client.socket.send(json.dumps({"event_id": "mine", **sent}) if isinstance(sent, dict) else sent)
    event = client.until("error")
    SDK.validate_python(event)
    error = event["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert said in error["message"]
    named = {"mine"} if isinstance(sent, dict) and "event_id" not in sent else {None, "e"}
    assert error["event_id"] in named
    assert turn(client)[-1]["transcript"] == "hello there"


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"format": {"type": "audio/opus"}}, "format.type", "audio/pcmu"),
        ({"format": {"type": "audio/pcm", "rate": 22050}}, "format.rate", "24000"),
        ({"turn_detection": {"threshold": 2}}, "turn_detection.threshold", "from 0 to 1"),
        ({"turn_detection": {"threshold": "0.4"}}, "turn_detection.threshold", "threshold='0.4' is not valid"),
        ({"turn_detection": {"silence_duration_ms": "5_00"}}, "turn_detection.silence_duration_ms", "whole number"),
        ({"turn_detection": {"silence_duration_ms": True}}, "turn_detection.silence_duration_ms", "whole number"),
        ({"turn_detection": {"type": "psychic"}}, "turn_detection.type", "semantic_vad"),
        ({"transcription": {"language": "klingon"}}, "transcription.language", "klingon"),
        ({"transcription": {"languages": ["klingon"]}}, "transcription.languages", "klingon"),
        ({"transcription": {"model": "none-such"}}, "transcription.model", "none-such"),
        ({"transcription": {"delay": "eternal"}}, "transcription.delay", "xhigh"),
        ({"transcription": 1}, "transcription", "JSON object"),
        ({"format": "pcm16"}, "format", "format=pcm16 is not valid: expected a JSON object."),
    ],
)
def test_an_invalid_update_names_the_field_and_changes_nothing(client, sessions, fields, param, said):
    """The message has the path of the field."""
    error = client.update(event_id="mine", **fields)["error"]
    assert (error["param"], error["event_id"]) == (f"session.audio.input.{param}", "mine")
    assert said in error["message"]
    assert len(sessions.last.options) == 1
    assert client.update()["session"]["audio"] == DEFAULTS["audio"]


def test_a_whole_number_may_be_written_as_a_float(client):
    """Python writes 300.0 for a whole number that it has computed."""
    turns = client.update(turn_detection={"prefix_padding_ms": 400.0})["session"]["audio"]["input"]["turn_detection"]
    assert turns["prefix_padding_ms"] == 400


def test_turn_detection_that_was_off_needs_its_type(client):
    """There is no type of before that the fields could belong to."""
    client.update(turn_detection=None)
    error = client.update(turn_detection={"threshold": 0.4})["error"]
    assert error["param"] == "session.audio.input.turn_detection.type"
    assert error["message"] == "Field 'session.audio.input.turn_detection.type' is required."


@pytest.mark.parametrize(
    ("session", "param", "said"),
    [
        ({"type": "realtime"}, "session.type", "transcription"),
        ({"input_audio_format": "pcm16"}, "session.input_audio_format", "beta"),
        ({"input_audio_transcription": {"model": "whisper-1"}}, "session.input_audio_transcription", "beta"),
    ],
)
def test_sessions_of_another_kind_are_refused(client, session, param, said):
    """A conversation, or the form of the beta."""
    client.send("session.update", session=session)
    error = client.until("error")["error"]
    assert error["param"] == param
    assert said in error["message"]


@pytest.mark.parametrize(
    ("audio_format", "sent", "n_samples"),
    [
        ({"type": "audio/pcm", "rate": 16000}, bytes(32_000), 16_000),
        ({"type": "audio/pcm", "rate": 48000}, bytes(96_000), 16_000),
        ({"type": "audio/pcmu"}, bytes(8_000), 16_000),
        ({"type": "audio/pcma"}, bytes(8_000), 16_000),
    ],
)
def test_every_format_reaches_the_engine_at_16_khz(client, sessions, audio_format, sent, n_samples):
    """A long event is fed in parts."""
    client.update(format=audio_format)
    client.append(base64.b64encode(sent * 3).decode())
    client.update()
    assert abs(len(sessions.last.fed) - 3 * n_samples) < 200
    assert sessions.last.fed.dtype == np.float32


@pytest.mark.parametrize("end", ["commit", "clear"])
def test_half_a_sample_does_not_shift_what_follows_a_commit_or_clear(client, sessions, end):
    """Shifted by a byte, all audio after it would be noise."""
    client.update(format={"type": "audio/pcm", "rate": 16000})
    client.append(base64.b64encode(bytes(3201)).decode())
    client.send(f"input_audio_buffer.{end}")
    client.append(base64.b64encode(b"\0\x40" * 1600).decode())
    client.update()
    assert set(sessions.last.fed[:1600]) == {0.0}
    assert set(sessions.last.fed[1600:]) == {0.5}


async def test_many_messages_leave_time_for_other_requests() -> None:
    """Reading messages that have arrived waits for nothing, so a flood could hold the event loop for seconds."""
    left, n_turns = iter(["{}"] * 100), 0

    class Flooded:
        async def receive(self) -> dict[str, str]:
            text = next(left, None)
            return {"type": "websocket.disconnect"} if text is None else {"type": "websocket.receive", "text": text}

    async def others() -> None:
        nonlocal n_turns
        while True:
            await asyncio.sleep(0)
            n_turns += 1

    arguments: Any = (Flooded(), None, Configuration(), None, connection.SessionLimits(None, KeyUsage(None), 1.0))
    running = asyncio.create_task(others())
    messages = [each async for each in connection.RealtimeConnection(*arguments)._messages()]
    running.cancel()
    assert len(messages) == 100
    assert n_turns >= 99


def test_a_long_type_is_refused_at_once() -> None:
    """The search for a similar type would block the other sessions of the slot for seconds."""
    began_s = time.process_time()
    with pytest.raises(InvalidParameter, match="Unknown event"):
        read_event({"type": "append" * 1_500_000})
    assert time.process_time() - began_s < 0.2


def test_the_audio_of_an_event_is_limited(client, sessions):
    """15 MiB are accepted, more is an error."""
    client.append(base64.b64encode(bytes(15 * 1024**2)).decode())
    client.append(base64.b64encode(bytes(15 * 1024**2 + 2)).decode(), event_id="mine")
    error = client.until("error")["error"]
    assert (error["param"], error["event_id"]) == ("audio", "mine")
    assert "15728640" in error["message"]
    assert len(sessions.last.fed) == pytest.approx(15 * 1024**2 / 48_000 * 16_000, rel=0.001)


def test_a_client_that_sends_too_fast_is_paced(live, sessions):
    """The service reads no more while the engine has no room, so the client's own socket is full in the end."""
    with raw_connection(live) as peer:
        until(lambda: sessions.all, what="the session")
        session = sessions.last
        session._loop.call_soon_threadsafe(session.room.clear)
        event = raw_event("input_audio_buffer.append", audio=SECOND * 10)

        def send_for_ever() -> None:
            while True:
                peer.sendall(event)

        with pytest.raises(TimeoutError):
            send_for_ever()
        assert len(session.fed) == 0
    session._loop.call_soon_threadsafe(session.room.set)
    sessions.wait_until_closed()


def test_a_client_that_leaves_ends_its_session(live, sessions):
    """Nothing is completed for it."""
    with realtime(live.url) as client:
        client.append()
    sessions.wait_until_closed()
    assert sessions.last.finished is None


@pytest.mark.parametrize(
    ("ended", "code", "error"),
    [
        (SessionEnded(EndReason.DRAINING), 1001, None),
        (SessionEnded(EndReason.SILENT), 1001, None),
        (SessionEnded(EndReason.YIELDED), 1013, None),
        (SessionEnded(EndReason.FAILED, EngineStopped("The engine stopped.")), 1013, "engine_stopped"),
        (SessionEnded(EndReason.FAILED, InferenceFailed("The model failed.")), 1011, "inference_failed"),
    ],
)
def test_a_session_that_the_engine_ends_is_closed_with_its_reason(client, sessions, ended, code, error):
    """A drain is no error: the close code says that the client may connect again.

    LiveKit's client ends its stream at an error, and connects again after a close.
    """
    sessions.last.emit(ended)
    with pytest.raises(ConnectionClosed) as closed:
        client.until("nothing")
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, bool(closed.value.rcvd.reason)) == (code, True)
    assert [event["error"]["code"] for event in client.received[1:]] == ([error] if error else [])
    sessions.wait_until_closed()


def test_a_session_has_a_maximum_duration(live, sessions, monkeypatch):
    """Its open turn is completed, then it is closed."""
    monkeypatch.setattr(routes, "_MAX_SESSION_S", 0.3)
    with realtime(live.url) as client:
        client.append()
        with pytest.raises(ConnectionClosed) as closed:
            client.until("nothing")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert client.kinds()[1:] == ["error", *TURN]
    assert client.received[1]["error"]["code"] == "session_expired"


def test_a_client_that_does_not_read_is_dropped(live, sessions, monkeypatch):
    """Its unread events do not pile up in the service."""
    monkeypatch.setattr(connection, "_SEND_TIMEOUT_S", 0.3)
    with raw_connection(live):
        until(lambda: sessions.all, what="the session")
        sessions.last.emit(*[TextDelta("a", "x" * 100_000)] * 200)
        sessions.wait_until_closed()


def test_a_refused_session_is_an_http_error(live, sessions):
    """The slot is saturated: a 503 before the upgrade, with the time after which to retry."""
    sessions.refusal = Overloaded("Too many sessions.", retry_after_s=7)
    with pytest.raises(InvalidStatus) as refused, realtime(live.url):
        pass
    response = refused.value.response
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert json.loads(response.body)["error"]["code"] == "overloaded"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?intent=conversation", 400, "invalid_parameter"),
        ("?model=gpt-realtime", 404, "model_not_found"),
    ],
)
def test_a_url_for_other_sessions_is_refused(live, sessions, query, status, code):
    """The error names the parameter."""
    with pytest.raises(InvalidStatus) as refused, realtime(live.url, query):
        pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body)["error"]["code"] == code


@pytest.mark.parametrize("query", ["", "?model=whisper-1", "?intent=transcription&model=gpt-4o-mini-transcribe&x=1"])
def test_a_url_may_name_the_model(live: Live, sessions: Sessions, query: str) -> None:
    """Parameters of other services are ignored."""
    with realtime(live.url, query) as client:
        model = client.received[0]["session"]["audio"]["input"]["transcription"]["model"]
        assert model == ("fake" if not query else query.split("model=")[1].split("&", maxsplit=1)[0])
    until(lambda: sessions.n_open == 0)
