"""The list of languages, their names, and language detection."""

import threading

import httpx
import pytest

from api.live import Live, serving, tone
from api.test_failures import assert_error
from asr_service.languages import LANGUAGES
from fakes import FakeModel, fake_tokenizer, sleeping

NAMES = {name.title(): code for code, name in LANGUAGES.items()}
OTHER_NAMES = {"Mandarin": "zh", "Farsi": "fa", "pt-BR": "pt", "zh_Hant": "zh", "iw": "he"}


def test_there_are_a_hundred_languages():
    """Whisper knows 99 languages, and large-v3 also knows Cantonese."""
    assert len(LANGUAGES) == len(NAMES) == 100


def test_every_language_is_accepted_by_code_and_by_name(live: Live):
    """Case does not matter, and some other names work. The response has the code."""
    with httpx.Client(base_url=live.url) as client:
        for given, code in [*NAMES.items(), *OTHER_NAMES.items(), *((code, code) for code in LANGUAGES)]:
            options = {"language": given, "vad_filter": "false"}
            answer = client.post(
                "/transcribe", params=options, content=tone(0.2), headers={"content-type": "audio/wav"}
            )
            assert (answer.status_code, answer.json()["language"]) == (200, code), given


def test_languages_are_listed_with_those_that_the_model_knows(live):
    """The list has the code, the English name and whether the model knows it."""
    answer = live.get("/languages").json()
    assert answer["model"] == "fake"
    assert {row["code"]: row["name"] for row in answer["languages"]} == LANGUAGES
    assert all(row["known"] for row in answer["languages"])
    with serving(FakeModel(tokenizer=fake_tokenizer([code for code in LANGUAGES if code != "yue"]))) as older:
        rows = older.get("/languages").json()["languages"]
    assert [row["code"] for row in rows if not row["known"]] == ["yue"]


def test_the_language_is_detected_without_a_transcript(live):
    """The response has all probabilities and the window. No text is generated."""
    live.model.language = "pt"
    answer = live.post("/detect-language", audio=tone(2))
    live.model.language = "en"
    assert answer.status_code == 200
    assert answer.json() == {
        "language": "pt",
        "name": "portuguese",
        "probability": 0.9,
        "probabilities": {"pt": 0.9, "la": 0.1},
        "start": 0.0,
        "end": 2.0,
        "model": "fake",
    }
    assert [call.stage for call in live.model.calls] == ["encode", "detect"]


def test_silence_has_no_language(live):
    """Every field is null and there are no probabilities, because any language would be a guess."""
    answer = live.post("/detect-language", vad_filter="true").json()
    assert {answer[name] for name in ("language", "name", "probability", "start", "end")} == {None}
    assert (answer["probabilities"], live.model.calls) == ({}, [])


def test_an_english_only_model_always_detects_english():
    """Speech is English, without a call of the model. Silence has no language."""
    with serving(FakeModel().english_only()) as english:
        english.model.calls.clear()
        answer = english.post("/detect-language").json()
        assert (answer["language"], answer["probability"], answer["probabilities"]) == ("en", 1.0, {"en": 1.0})
        assert english.model.calls == []
        assert english.post("/detect-language", vad_filter="true").json()["language"] is None
        known = [row["code"] for row in english.get("/languages").json()["languages"] if row["known"]]
        assert known == ["en"]


@pytest.mark.parametrize(
    ("fields", "audio", "status", "code"),
    [
        ({"language": "en"}, tone(), 422, "invalid_parameter"),
        ({"vad_threshold": "2"}, tone(), 422, "invalid_parameter"),
        ({}, b"no audio", 415, "unsupported_audio"),
        ({}, tone(0), 200, None),
    ],
    ids=["language", "threshold", "text", "empty"],
)
def test_language_detection_refuses_what_transcription_refuses(live, fields, audio, status, code):
    """The errors have the same shape. A recording of no length has no speech."""
    answer = live.post("/detect-language", audio=audio, **fields)
    assert answer.status_code == status
    assert answer.json().get("error", {}).get("code") == code


def test_language_detection_has_the_deadline_of_every_request():
    """A model that is too slow is a 504."""
    with serving(request_timeout_s=0.3) as live:
        live.model.before = sleeping(1.0, "detect")
        assert_error(live.post("/detect-language"), 504, "deadline_exceeded", None)


def test_a_loading_service_responds_503():
    """This holds for both paths while the model loads."""
    may_load = threading.Event()
    try:
        with serving(load=lambda *_: _after(may_load), ready=False) as live:
            assert live.get("/languages").status_code == 503
            assert live.post("/detect-language").status_code == 503
            may_load.set()
    finally:
        may_load.set()


def _after(event: threading.Event) -> FakeModel:
    assert event.wait(20)
    return FakeModel()
