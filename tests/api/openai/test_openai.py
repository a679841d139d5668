"""OpenAI's Python SDK against this service. Responses have the SDK's own types."""

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Model
from openai.types.audio import (
    Transcription,
    TranscriptionStreamEvent,
    TranscriptionVerbose,
    Translation,
    TranslationVerbose,
)
from pydantic import TypeAdapter

from api.live import Live, in_second_window, serving, tone, two_windows
from asr_service.access.keys import entry, new_secret
from asr_service.errors import Overloaded
from asr_service.models.resolution import served_names
from asr_service.settings import load_settings
from fakes import Call, FakeModel, sleeping, writing
from waiting import until

# The SDK marks translations as deprecated, because the hosted service will remove them.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

SEGMENT = {
    "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob",
}  # fmt: skip
RAW = [
    ("text", "text/plain", "héllo <b>\n"),
    ("srt", "application/x-subrip", "1\n00:00:00,000 --> 00:00:01,000\nhéllo <b>\n"),
    ("vtt", "text/vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nhéllo &lt;b&gt;\n"),
]


_clients: list[OpenAI] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _clients:
        _clients.pop().close()


def sdk(live: Live, **options: Any) -> OpenAI:
    """Return a client without retries by default. It is closed at the end of the test."""
    client = OpenAI(base_url=f"{live.url}/v1", **{"api_key": "any", "max_retries": 0, **options})
    _clients.append(client)
    return client


def recording(audio: bytes | None = None) -> tuple[str, bytes]:
    return ("speech.wav", tone() if audio is None else audio)


def transcribe(live: Live, *, audio: bytes | None = None, **fields: Any) -> Any:
    return sdk(live).audio.transcriptions.create(**{"model": "whisper-1", "file": recording(audio), **fields})


def translate(live: Live, **fields: Any) -> Any:
    return sdk(live).audio.translations.create(**{"model": "whisper-1", "file": recording(), **fields})


def body(live: Live, where: str = "transcriptions", **fields: Any) -> dict[str, Any]:
    """Return the JSON of the response as it was sent."""
    resource = getattr(sdk(live).audio, where).with_raw_response
    answer: dict[str, Any] = json.loads(resource.create(model="whisper-1", file=recording(), **fields).content)
    return answer


def fits(value: object, kind: Any) -> None:
    """Check that the value has the SDK's type without coercion. The SDK itself does not check this."""
    TypeAdapter(kind).validate_python(value, strict=True)


def assert_all_keys(error: openai.APIError) -> None:
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}


# -- Formats


def test_json_is_the_default_format(named):
    """It has the text and the usage, with and without response_format=json."""
    for fields in ({}, {"response_format": "json"}):
        answer = body(named, **fields)
        assert set(answer) == {"text", "languages", "usage"}
        assert answer["languages"] == [{"code": "en"}]
        fits(answer, Transcription)
    assert transcribe(named).text == "hello"
    assert transcribe(named).usage.seconds == 1.0
    fits(body(named, "translations"), Translation)
    assert translate(named).text == "hello"


@pytest.mark.parametrize("where", ["transcriptions", "translations"])
@pytest.mark.parametrize(("name", "media_type", "text"), RAW)
def test_text_and_subtitles_are_not_json(named, where, name, media_type, text):
    """The SDK returns the text as it is, and the media type is that of the format."""
    named.model.script = writing(" héllo <b>")
    resource = getattr(sdk(named).audio, where)
    fields = {"model": "whisper-1", "file": recording(), "response_format": name}
    assert resource.create(**fields) == text
    assert resource.with_raw_response.create(**fields).headers["content-type"] == f"{media_type}; charset=utf-8"


def test_verbose_json_has_the_fields_of_the_sdk(named):
    """`language` is an English name, `duration` is a number, and each segment has every field."""
    answer = body(named, response_format="verbose_json", language="pt")
    assert set(answer) == {"task", "language", "duration", "text", "languages", "usage", "segments"}
    fits(answer, TranscriptionVerbose)
    assert [set(segment) for segment in answer["segments"]] == [SEGMENT]
    assert (answer["task"], answer["language"], answer["duration"]) == ("transcribe", "portuguese", 1.0)
    assert answer["usage"] == {"type": "duration", "seconds": 1.0}
    assert isinstance(transcribe(named, response_format="verbose_json"), TranscriptionVerbose)


def test_seek_is_the_start_of_the_window(named):
    """It is in hundredths of a second, as in Whisper."""
    segments = transcribe(named, audio=two_windows(), response_format="verbose_json").segments
    assert segments[0].seek == 0
    assert 2500 <= segments[1].seek <= 2600


def test_verbose_json_of_a_translation_is_english(named, monkeypatch):
    """`language` is the language of the text, whatever language was spoken."""
    monkeypatch.setattr(named.model, "language", "pt")
    answer = body(named, "translations", response_format="verbose_json")
    fits(answer, TranslationVerbose)
    assert (answer["task"], answer["language"], answer["text"]) == ("translate", "english", "hello")
    assert named.model.last_prompt().endswith("<|pt|><|translate|>")


def test_transcribe_has_verbose_json_too(named):
    """word_timestamps adds the words."""
    answer = named.post(response_format="verbose_json", word_timestamps="true").json()
    assert set(answer) == {"task", "language", "duration", "text", "languages", "usage", "segments", "words"}


@pytest.mark.parametrize(
    ("granularities", "parts"),
    [
        ([], {"segments"}),
        (["segment"], {"segments"}),
        (["word"], {"words"}),
        (["word", "segment"], {"words", "segments"}),
    ],
)
def test_granularities_select_words_and_segments(named, granularities, parts):
    """Words are at the top level, without spaces. Without speech the requested lists are empty."""
    answer = body(named, response_format="verbose_json", timestamp_granularities=granularities)
    assert set(answer) & {"words", "segments"} == parts
    fits(answer, TranscriptionVerbose)
    if "words" in parts:
        assert [word["word"] for word in answer["words"]] == ["hello"]
        assert set(answer["words"][0]) == {"word", "start", "end"}
    quiet = body(named, response_format="verbose_json", timestamp_granularities=granularities, chunking_strategy="auto")
    assert {name: quiet.get(name) for name in parts} == {name: [] for name in parts}


def test_a_list_may_be_written_without_brackets(named):
    """`timestamp_granularities` and `timestamp_granularities[]` are the same field."""
    fields = {"model": "whisper-1", "response_format": "verbose_json"}
    lists = {"timestamp_granularities": ["word"], "timestamp_granularities[]": ["segment"]}
    answer = httpx.post(f"{named.url}/v1/audio/transcriptions", files={"file": tone()}, data=fields | lists)
    assert {"words", "segments"} <= set(answer.json())


def test_silence_has_an_empty_text(named):
    """The status is 200 in every format and in a stream."""
    quiet: dict[str, Any] = {"chunking_strategy": "auto"}
    assert transcribe(named, **quiet).text == ""
    verbose = transcribe(named, **quiet, response_format="verbose_json")
    assert (verbose.text, verbose.segments, verbose.language) == ("", [], "unknown")
    assert transcribe(named, **quiet, response_format="text") == ""
    assert transcribe(named, **quiet, response_format="srt") == ""
    assert transcribe(named, **quiet, response_format="vtt") == "WEBVTT\n"
    (done,) = transcribe(named, **quiet, stream=True)
    assert (done.type, done.text, done.languages) == ("transcript.text.done", "", [])


# -- Options


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"language": "pt"}, "<|startoftranscript|><|pt|><|transcribe|>"),
        ({"language": "Portuguese"}, "<|startoftranscript|><|pt|><|transcribe|>"),
        ({"languages": ["pt"]}, "<|startoftranscript|><|pt|><|transcribe|>"),
        (
            {"language": "pt", "prompt": "Olá, João.", "keywords": ["Ørsted", "Ångström"]},
            "<|startofprev|> Ørsted, Ångström Olá, João.<|startoftranscript|><|pt|><|transcribe|>",
        ),
        ({"prompt": "a" * 9000 + " to the end"}, "a to the end<|startoftranscript|><|en|><|transcribe|>"),
    ],
)
def test_language_prompt_and_keywords_reach_the_model(named, fields, wanted):
    """The end of a long prompt is used."""
    transcribe(named, **fields)
    assert named.model.last_prompt().endswith(wanted)


def test_temperature_reaches_the_model(named):
    """0 and other values are passed on."""
    for temperature in (0.0, 0.7):
        transcribe(named, temperature=temperature)
        assert named.model.last_options().temperature == temperature


@pytest.mark.parametrize(
    "given",
    [
        {"type": "server_vad", "threshold": 0.0, "prefix_padding_ms": 0, "silence_duration_ms": 100},
        '{"type": "server_vad", "threshold": 0}',
    ],
    ids=["fields with keys", "JSON"],
)
def test_chunking_strategy_sets_voice_activity_detection(named, given):
    """`auto` finds no speech in a tone. A threshold of 0 finds speech. Without the field it is as configured."""
    assert transcribe(named).text == "hello"
    assert transcribe(named, chunking_strategy="auto").text == ""
    assert transcribe(named, chunking_strategy=given).text == "hello"


# -- Streams


def test_deltas_arrive_while_later_audio_is_transcribed(named):
    """The client reads the first before the second window is decoded. Together they are the text of the last event."""
    may_go_on = threading.Event()
    named.model.before = lambda call: may_go_on.wait(20) if in_second_window(call) else None
    named.model.script = writing(" one,\u2028two")
    with transcribe(named, audio=two_windows(), stream=True) as events:
        first = next(events)
        assert not may_go_on.is_set()
        may_go_on.set()
        rest = list(events)
    assert events.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events.response.headers["x-accel-buffering"] == "no"
    for event in (first, *rest):
        fits(event.to_dict(), TranscriptionStreamEvent)
    *deltas, done = [first, *rest]
    assert [event.type for event in deltas] == ["transcript.text.delta"] * 2
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == done.text == "one,\u2028two one,\u2028two"
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


@pytest.mark.parametrize(
    ("fault", "code"), [(RuntimeError("broken"), "inference_failed"), (Overloaded("no memory"), "overloaded")]
)
def test_a_failed_stream_raises_in_the_sdk(named, fault, code):
    """The status was sent with the first delta. The SDK raises because of the error event."""

    def before(call: Call) -> None:
        if in_second_window(call):
            raise fault

    named.model.before = before
    read = []
    with pytest.raises(openai.APIError) as raised:
        read.extend(transcribe(named, audio=two_windows(), stream=True))
    assert raised.value.code == code
    assert_all_keys(raised.value)
    assert [event.type for event in read] == ["transcript.text.delta"]


@pytest.mark.anyio
async def test_the_asynchronous_sdk_works(named):
    """It gets whole responses and streams."""
    async with AsyncOpenAI(base_url=f"{named.url}/v1", api_key="any", max_retries=0) as client:
        create = client.audio.transcriptions.create
        whole = await create(model="whisper-1", file=recording())
        stream = await create(model="whisper-1", file=recording(), stream=True, response_format="text")
        events = [event.type async for event in stream]
    assert whole.text == "hello"
    assert events == ["transcript.text.delta", "transcript.text.done"]


# -- Models


@pytest.mark.parametrize(
    "name",
    [
        "whisper-1",
        "large-v3-turbo",
        "turbo",
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-transcribe",
        "gpt-4o-transcribe-diarize",
        "openai/whisper-large-v3-turbo",
        "whisper-large-v3-turbo",
    ],
)
def test_the_loaded_model_has_several_names(named, name):
    """They are its own, that of its repository, short ones, those at OpenAI's hub and Groq, and clients' defaults."""
    assert transcribe(named, model=name).text == "hello"
    described = sdk(named).models.retrieve(name)
    assert (described.id, described.object, described.owned_by) == (name, "model", "mobiuslabsgmbh")


def test_the_list_of_models_has_every_name_that_is_accepted(named):
    """Clients choose from the list, or check that their name is in it. Each entry has the SDK's type."""
    models = list(sdk(named).models.list())
    assert [model.id for model in models] == list(served_names(load_settings({}), "large-v3-turbo"))
    assert {"large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", "whisper-1"} <= {m.id for m in models}
    for model in models:
        fits(model.to_dict(), Model)
        assert transcribe(named, model=model.id).text == "hello"


@pytest.mark.parametrize(
    ("aliases", "accepted", "refused"),
    [
        ("speech, whisper-1", ["base", "speech", "whisper-1"], ["gpt-4o-transcribe", "*"]),
        ("none", ["base", "Systran/faster-whisper-base"], ["whisper-1", "none"]),
        ("*", ["base", "whisper-1", "anything/at all"], []),
    ],
)
def test_the_operator_chooses_the_aliases(aliases, accepted, refused):
    """ASR_MODEL_ALIASES replaces the default names. `*` accepts every name, `none` only the model's own."""
    model = FakeModel()
    model.facts = replace(model.facts, name="base")
    with serving(model, vad_filter=False, model_aliases=aliases) as live:
        for name in accepted:
            assert transcribe(live, model=name).text == "hello"
            assert sdk(live).models.retrieve(name).id == name
        for name in refused:
            with pytest.raises(openai.NotFoundError):
                transcribe(live, model=name)
        listed = {each.id for each in sdk(live).models.list()}
        assert not listed & {"none", "*", *refused}


def test_a_model_from_a_folder_has_only_the_name_of_the_folder():
    """A folder with the name of a known model does not have the name of its repository."""
    own = load_settings({}, model="/models/base", model_aliases="none")
    assert served_names(own, "base") == ("base",)
    assert served_names(load_settings({}, model="base", model_aliases="none"), "base") == (
        "base", "Systran/faster-whisper-base", "openai/whisper-base", "whisper-base",
    )  # fmt: skip


def test_an_unknown_model_is_a_404(named):
    """The message lists the available names. This holds for every path that takes a model."""
    for ask in (
        lambda: transcribe(named, model="gpt-5"),
        lambda: translate(named, model="gpt-5"),
        lambda: sdk(named).models.retrieve("gpt-5"),
    ):
        with pytest.raises(openai.NotFoundError) as raised:
            ask()
        error = raised.value
        assert (error.code, error.param, error.type) == ("model_not_found", "model", "invalid_request_error")
        assert "large-v3-turbo" in error.message
        assert "whisper-1" in error.message
    assert not named.model.calls


# -- Failures


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown format": ({"response_format": "diarized_json"}, "response_format"),
    "unknown granularity": (
        {"response_format": "verbose_json", "timestamp_granularities": ["phrase"]}, "timestamp_granularities",
    ),
    "a stream of subtitles": ({"response_format": "srt", "stream": True}, "stream"),
    "temperature above 1": ({"temperature": 1.1}, "temperature"),
    "not a language": ({"language": "Klingon"}, "language"),
    "not a language among several": ({"languages": ["en", "Klingon"]}, "languages"),
    "two prompts": ({"prompt": "a", "extra_body": {"initial_prompt": "b"}}, "initial_prompt"),
    "subtitle layout without subtitles": ({"extra_body": {"max_line_width": 30}}, "max_line_width"),
    "an option out of range": ({"extra_body": {"beam_size": 11}}, "beam_size"),
    "language and languages": ({"language": "en", "languages": ["pt"]}, "languages"),
    "token probabilities": ({"include": ["logprobs"]}, "include"),
    "speakers": ({"known_speaker_names": ["agent"]}, "known_speaker_names"),
    "voices of speakers": ({"known_speaker_references": ["data:audio/wav;base64,"]}, "known_speaker_references"),
    "unknown strategy": ({"chunking_strategy": "manual"}, "chunking_strategy"),
    "a strategy without a type": ({"chunking_strategy": {"threshold": 0.5}}, "chunking_strategy"),
    "a strategy with an unknown key": (
        {"chunking_strategy": {"type": "server_vad", "eagerness": 1}}, "chunking_strategy",
    ),
    "a strategy that is not JSON": ({"chunking_strategy": "{" * 9999}, "chunking_strategy"),
    "unknown field": ({"extra_body": {"langauge": "en"}}, "langauge"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_an_unsupported_option_is_refused_by_name(named, case):
    """The response is a 400, as from OpenAI. No option is ignored."""
    fields, param = REFUSALS[case]
    with pytest.raises(openai.BadRequestError) as raised:
        transcribe(named, **fields)
    assert (raised.value.code, raised.value.param) == ("invalid_parameter", param)
    assert not named.model.calls


def test_the_model_is_required(named):
    """A request without a model is a 400."""
    with pytest.raises(openai.BadRequestError) as raised:
        transcribe(named, model="")
    assert (raised.value.code, raised.value.param) == ("malformed_request", "model")


@pytest.mark.parametrize(
    ("twice", "param"),
    [
        ({"language": ["en", "pt"]}, "language"),
        ({"chunking_strategy": "auto", "chunking_strategy[type]": "server_vad"}, "chunking_strategy"),
    ],
)
def test_a_field_that_is_given_twice_is_refused(named, twice, param):
    """This includes a strategy that is given as JSON and as fields with keys."""
    form = {"model": "whisper-1", **twice}
    answer = httpx.post(f"{named.url}/v1/audio/transcriptions", files={"file": tone()}, data=form)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def _broken(live: Live) -> None:
    def before(_: Call) -> None:
        raise ValueError("broken")

    live.model.before = before


FAILURES: dict[str, tuple[type[openai.APIStatusError], int, str, dict[str, Any], Any]] = {
    "not audio": (openai.BadRequestError, 400, "unsupported_audio", {"audio": b"text"}, None),
    "too many bytes": (openai.APIStatusError, 413, "upload_too_large", {"audio": bytes(200_001)}, None),
    "too many seconds": (openai.APIStatusError, 413, "audio_too_long", {"audio": tone(5)}, None),
    "a damaged file": (
        openai.BadRequestError, 400, "undecodable_audio", {"audio": tone(0.1)[:20]}, None,
    ),
    "a model that fails": (openai.InternalServerError, 500, "inference_failed", {}, _broken),
    "a model that is too slow": (
        openai.InternalServerError, 504, "deadline_exceeded", {},
        lambda live: setattr(live.model, "before", sleeping(1.5)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_each_failure_raises_the_matching_error_of_the_sdk(tight, case):
    """The error has all four keys. The SDK does not retry, because these requests would fail again."""
    kind, status, code, fields, arrange = FAILURES[case]
    if arrange:
        arrange(tight)
    had = tight.metric(_requests(status))
    create: Any = sdk(tight, max_retries=2).audio.transcriptions.create
    everything = {"type": "server_vad", "threshold": 0}
    with pytest.raises(kind) as raised:
        create(model="whisper-1", file=recording(fields.get("audio")), chunking_strategy=everything)
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert_all_keys(raised.value)
    assert tight.metric(_requests(status)) == had + 1


def _requests(status: int) -> str:
    return f'asr_requests_total{{code="{status}",endpoint="/v1/audio/transcriptions"}}'


def test_api_keys_work_with_the_sdk():
    """A valid `api_key` is accepted. For an invalid or missing one, the SDK raises an error."""
    secret = new_secret()
    with serving(vad_filter=False, api_keys=entry("alice", secret)) as live:
        ask: dict[str, Any] = {"model": "whisper-1", "file": recording()}
        mine, wrong = (sdk(live, api_key=key).audio.transcriptions for key in (secret, new_secret()))
        assert mine.create(**ask).text == "hello"
        with pytest.raises(openai.AuthenticationError) as raised:
            wrong.create(**ask)
        assert raised.value.code == "invalid_api_key"
        assert_all_keys(raised.value)
        with pytest.raises(openai.AuthenticationError) as unknown:
            wrong.create(**ask, extra_headers={"authorization": openai.Omit()})
        assert_all_keys(unknown.value)


def test_a_key_over_its_limit_raises_rate_limit_error_in_the_sdk(tmp_path):
    """The 429 has Retry-After, so the SDK would wait and retry by default."""
    secret = new_secret()
    release = threading.Event()
    with serving(
        vad_filter=False, api_keys=entry("alice", secret), key_concurrent_requests=1, key_usage_dir=tmp_path
    ) as live:
        live.model.before = lambda _: release.wait(20)
        ask: dict[str, Any] = {"model": "whisper-1", "file": recording()}
        create = sdk(live, api_key=secret).audio.transcriptions.create
        first = threading.Thread(target=lambda: create(**ask))
        first.start()
        until(lambda: live.admission.open_requests, what="the request")
        with pytest.raises(openai.RateLimitError) as raised:
            create(**ask)
        assert_all_keys(raised.value)
        assert 1 <= int(raised.value.response.headers["retry-after"]) <= 120
        release.set()
        first.join(20)


@pytest.fixture
def held() -> Iterator[tuple[Live, threading.Event]]:
    """A server for one open request, with a model that waits for `release`."""
    release = threading.Event()
    with serving(vad_filter=False, max_open_requests=1) as live:
        live.model.calls.clear()
        live.model.before = lambda _: release.wait(20)
        yield live, release
        release.set()


def test_the_sdk_retries_a_503(held):
    """By default the SDK waits for Retry-After, and then gets its response."""
    live, release = held
    first = threading.Thread(target=transcribe, args=[live])
    first.start()
    until(lambda: live.admission.open_requests, what="the request")
    with pytest.raises(openai.InternalServerError) as raised:
        transcribe(live)
    assert (raised.value.status_code, raised.value.code) == (503, "overloaded")
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 120
    had = live.metric(_requests(503))
    answers: list[str] = []
    client = sdk(live, max_retries=5)
    patient = threading.Thread(
        target=lambda: answers.append(client.audio.transcriptions.create(model="whisper-1", file=recording()).text)
    )
    patient.start()
    until(lambda: live.metric(_requests(503)) > had, what="a refusal")
    release.set()
    first.join(20)
    patient.join(20)
    assert answers == ["hello"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_timeout_of_the_sdk_ends_the_work(held, stream):
    """The queue is empty and the permit is free, so retries do not pile up work."""
    live, release = held
    client = sdk(live, timeout=0.5)
    with pytest.raises(openai.APITimeoutError):
        client.audio.transcriptions.create(model="whisper-1", file=io.BytesIO(tone(290, rate=8000)), stream=stream)
    until(live.idle, what="the end of the request")
    until(lambda: live.metric('asr_inflight_requests{slot="0"}') == 0, what="the gauge's fall")
    n_encoded = len(live.model.calls_of("encode"))
    release.set()
    assert transcribe(live, language="en").text == "hello"
    assert len(live.model.calls_of("encode")) == n_encoded + 1
    assert len(live.model.calls_of("generate")) == 1
