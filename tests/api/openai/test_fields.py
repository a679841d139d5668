"""The fields of OpenAI's API, speaches, vLLM and faster-whisper: each is honoured, or its treatment is fixed."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.live import Live, tone, two_windows
from asr_service.api.native.schemas import TranscribeParameters
from asr_service.api.openai.fields import FOREIGN_FIELDS, Treatment
from asr_service.api.openai.schemas import OpenAIForm
from fakes import writing

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
HONOURED = "honoured"
OTHERS: dict[str, set[str]] = {
    # https://github.com/openai/openai-openapi, CreateTranscriptionRequest and CreateTranslationRequest
    "OpenAI": {
        "file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities", "stream",
        "include", "chunking_strategy", "known_speaker_names", "known_speaker_references", "keywords", "languages",
    },
    # https://github.com/speaches-ai/speaches, src/speaches/routers/stt.py
    "speaches": {
        "file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities", "stream",
        "hotwords", "without_timestamps", "vad_filter",
    },
    # https://github.com/vllm-project/vllm, TranscriptionRequest and TranslationRequest
    "vLLM": {
        "file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities", "stream",
        "stream_include_usage", "stream_continuous_usage_stats", "vllm_xargs", "to_language", "top_p", "top_k", "min_p",
        "seed", "frequency_penalty", "repetition_penalty", "presence_penalty", "max_completion_tokens", "hotwords",
        "n", "length_penalty", "use_beam_search",
    },
}  # fmt: skip


def send(live: Live, *pairs: tuple[str, str], where: str = "transcriptions", audio: bytes | None = None) -> Any:
    files = [("file", ("a.wav", audio or tone(), "audio/wav"))]
    fields: list[Any] = [(name, (None, value)) for name, value in (("model", "whisper-1"), *pairs)]
    return httpx.post(f"{live.url}/v1/audio/{where}", files=[*files, *fields], timeout=60)


def table() -> dict[str, tuple[str, str]]:
    """Return the rows of the table on the page: treatment and harmless values by field."""
    rows = re.findall(
        r"^\| ((?:`[^`|]+`(?:, )?)+) \| (honoured|accepted.*?|warned.*?|refused)\s*\| (.*?) \|", PAGE, re.MULTILINE
    )
    return {name: (treatment, rest) for names, treatment, rest in rows for name in re.findall(r"`([^`]+)`", names)}


def test_the_page_has_one_table_of_every_field():
    """It has the fields of the code, no other, and the treatment of each."""
    own = dict.fromkeys(["file", *OpenAIForm.model_fields], HONOURED)
    own["peaks"] = Treatment.IGNORED.value  # an option of /transcribe; OpenAI's formats have no field for them
    foreign = {name: field.treatment.value for name, field in FOREIGN_FIELDS.items()}
    assert {name: treatment for name, (treatment, _) in table().items()} == own | foreign


def test_no_field_of_another_implementation_is_unknown():
    """Every field is in the table, and so is every option of /transcribe."""
    for fields in OTHERS.values():
        assert fields <= table().keys()
    assert TranscribeParameters.model_fields.keys() <= OpenAIForm.model_fields.keys()
    assert not OpenAIForm.model_fields.keys() & FOREIGN_FIELDS.keys()


WAYS_TO_SEND = [(where, after) for after in ("", "[]", "[0]", "[key]") for where in ("transcriptions", "translations")]


def ways_to_send() -> list[tuple[str, str, str]]:
    """Return endpoints and spellings for each field: the plain one for all, each other one for every eighth field."""
    names = sorted(FOREIGN_FIELDS, key=lambda name: FOREIGN_FIELDS[name].treatment.value)
    others = [(name, *WAYS_TO_SEND[number % len(WAYS_TO_SEND)]) for number, name in enumerate(names)]
    return list(dict.fromkeys([(name, "transcriptions", "") for name in names] + others))


@pytest.mark.parametrize(("name", "where", "after"), ways_to_send())
def test_a_field_without_an_option_is_treated_as_the_table_says(named, name, where, after):
    """Values that ask for what the service does anyway are accepted in silence; others as the table says."""
    field = FOREIGN_FIELDS[name]
    answer = send(named, (name + after, "0.123"), where=where)
    match field.treatment:
        case Treatment.REFUSED:
            error = answer.json()["error"]
            assert (answer.status_code, error["param"], error["code"]) == (400, name, "invalid_parameter")
            assert field.reason in error["message"]
        case Treatment.WARNED:
            assert answer.status_code == 200
            assert answer.headers["x-asr-warning"] == f"{name} has no effect. {field.reason}"
        case Treatment.IGNORED:
            assert (answer.status_code, answer.headers.get("x-asr-warning")) == (200, None)


@pytest.mark.parametrize("name", FOREIGN_FIELDS)
def test_a_neutral_value_of_a_field_without_an_option_is_accepted_in_silence(named, name):
    """It asks for what the service does anyway. An empty value is none."""
    for neutral in FOREIGN_FIELDS[name].neutral:
        answer = send(named, (name, str(neutral)))
        assert (answer.status_code, answer.headers.get("x-asr-warning")) == (200, None), answer.text
    assert send(named, (name, "")).status_code == 200


def test_a_warning_comes_with_every_kind_of_answer(named):
    """With a stream, with a repeated answer, and once for a field that is given several times."""
    warned = (("seed", "1"), ("seed", "2"), ("top_p", "0.5"))
    expected = " ".join(f"{name} has no effect. {FOREIGN_FIELDS[name].reason}" for name in ("seed", "top_p"))
    assert send(named, *warned).headers["x-asr-warning"] == expected
    assert send(named, *warned, ("stream", "true")).headers["x-asr-warning"] == expected
    for _ in range(2):
        answer = httpx.post(
            f"{named.url}/v1/audio/transcriptions",
            files={"file": tone()},
            data={"model": "whisper-1", "seed": "1"},
            headers={"idempotency-key": "warned"},
        )
        assert "seed has no effect" in answer.headers["x-asr-warning"]
    assert answer.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"beam_size": "3"}, {"beam_size": 3}),
        ({"max_new_tokens": "20", "language": "en"}, {"max_length": 40}),
        ({"max_completion_tokens": "20", "language": "en"}, {"max_length": 40}),
        ({"max_completion_tokens": "9000"}, {"max_length": 448}),
    ],
)
def test_options_of_transcribe_are_honoured(named, fields, wanted):
    """They reach the model, also under vLLM's names."""
    assert send(named, *fields.items()).status_code == 200
    options = named.model.last_options()
    assert {name: getattr(options, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("where", "fields", "wanted"),
    [
        ("transcriptions", {"hotwords": "Ørsted"}, "<|startofprev|> Ørsted<|startoftranscript|><|en|><|transcribe|>"),
        ("transcriptions", {"hotwords": "a", "keywords[0]": "b", "keywords[1]": "c"}, "<|startofprev|> a, b, c<|"),
        ("transcriptions", {"initial_prompt": "Olá"}, "<|startofprev|> Olá<|"),
        ("transcriptions", {"task": "translate", "language": "pt"}, "<|startoftranscript|><|pt|><|translate|>"),
        ("transcriptions", {"task": "transcribe"}, "<|startoftranscript|><|en|><|transcribe|>"),
        ("transcriptions", {"timestamps": "false"}, "<|transcribe|><|notimestamps|>"),
        ("transcriptions", {"without_timestamps": "true"}, "<|transcribe|><|notimestamps|>"),
        ("translations", {"language": "pt"}, "<|startoftranscript|><|pt|><|translate|>"),
        ("translations", {"language": "en", "stream": "false"}, "<|en|><|translate|>"),
        ("translations", {"to_language": "en", "task": "translate"}, "<|en|><|translate|>"),
    ],
)
def test_options_of_transcribe_reach_the_prompt(named, where, fields, wanted):
    """The task, the language, prompts and timestamps."""
    answer = send(named, *fields.items(), where=where)
    assert answer.status_code == 200, answer.text
    assert "x-asr-warning" not in answer.headers
    assert wanted in named.model.last_prompt()


def test_english_at_translations_is_the_language_of_the_text(named, monkeypatch):
    """The language of the speech is detected, as without the field."""
    monkeypatch.setattr(named.model, "language", "pt")
    assert send(named, ("language", "en"), where="translations").status_code == 200
    assert named.model.last_prompt().endswith("<|pt|><|translate|>")


def test_a_translation_may_be_streamed(named):
    """As at vLLM."""
    answer = send(named, ("stream", "true"), where="translations")
    assert '"transcript.text.done"' in answer.text


def test_vad_filter_and_word_timestamps_are_honoured(named):
    """A tone has no speech. word_timestamps adds words to verbose_json."""
    assert send(named, ("vad_filter", "true")).json()["text"] == ""
    assert send(named, ("vad_filter", "true"), ("vad_threshold", "0")).json()["text"] == "hello"
    answer = send(named, ("response_format", "verbose_json"), ("word_timestamps", "true")).json()
    assert [word["word"] for word in answer["words"]] == ["hello"]


def test_task_transcribe_at_translations_is_refused(named):
    """The message names the endpoint that transcribes."""
    answer = send(named, ("task", "transcribe"), where="translations")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "task")


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt"])
@pytest.mark.parametrize("granularity", ["segment", "word"])
@pytest.mark.parametrize("name", ["timestamp_granularities[]", "timestamp_granularities", "timestamp_granularities[0]"])
def test_granularities_do_no_harm_to_other_formats(named, response_format, granularity, name):
    """The answer is the one without them, as at OpenAI, and no word is timed for a format without times."""
    plain = send(named, ("response_format", response_format))
    timed = send(named, ("response_format", response_format), (name, granularity))
    assert (timed.status_code, timed.text) == (200, plain.text)
    assert bool(named.model.calls_of("align")) == (response_format in {"srt", "vtt"})


@pytest.mark.parametrize(("name", "value"), [("n", "\uff11"), ("n", "1_0"), ("n", " 1"), ("languages[\u0660]", "en")])
def test_other_digits_than_those_of_ascii_are_no_numbers(named, name, value):
    """Not in values that are accepted in silence, and not in the indices of lists."""
    answer = send(named, (name, value))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == name


def test_lists_may_have_indices(named):
    """PHP, Dart and Kotlin write them so."""
    pairs = (("timestamp_granularities[0]", "word"), ("timestamp_granularities[1]", "segment"))
    answer = send(named, ("response_format", "verbose_json"), *pairs, ("languages[0]", "pt"), ("keywords[0]", "a"))
    assert {"words", "segments"} <= set(answer.json())
    assert named.model.last_prompt().endswith("<|startofprev|> a<|startoftranscript|><|pt|><|transcribe|>")


@pytest.mark.parametrize(
    ("languages", "code"),
    [
        (["en", "fr"], "en"),
        (["la", "fr"], "la"),
        (["fr", "lat"], "la"),
        (["la", "en"], "en"),
        (["Portuguese", "por", "pt"], "pt"),
        (["fr", "de"], "fr"),
    ],
)
@pytest.mark.parametrize("language", [None, "auto", "auto-per-chunk"])
def test_languages_bound_the_detection(named, languages, code, language):
    """The most likely of them is taken, or the first if none is likely. The model detects English, then Latin."""
    pairs = [("languages[]", each) for each in languages] + ([("language", language)] if language else [])
    answer = send(named, *pairs, audio=two_windows())
    assert answer.status_code == 200, answer.text
    assert answer.json()["languages"] == [{"code": code}]
    assert f"<|{code}|><|transcribe|>" in named.model.last_prompt()


@pytest.mark.parametrize(
    ("pairs", "written"),
    [
        ([("language", "zh-TW")], "這個問題"),
        ([("language", "zh_hk")], "這個問題"),
        ([("languages[]", "zh-Hant")], "這個問題"),
        ([("languages[]", "zh-TW"), ("language", "zh")], "這個問題"),
        ([("languages[]", "en"), ("languages[]", "zh-TW"), ("language", "zh")], "這個問題"),
        ([("language", "zh")], "这个问题"),
    ],
)
def test_a_language_may_name_a_script(named, pairs, written):
    """Chinese is written in it, and stays Chinese."""
    named.model.script = writing("这个问题")
    answer = send(named, *pairs)
    assert (answer.json()["text"], answer.json()["languages"]) == (written, [{"code": "zh"}])


def test_a_language_must_be_among_the_languages(named):
    """If it is, it is the language of the recording."""
    assert send(named, ("language", "pt"), ("languages", "en"), ("languages", "pt")).json()["languages"] == [
        {"code": "pt"}
    ]
    answer = send(named, ("language", "de"), ("languages", "en"), ("languages", "pt"))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "languages")
