"""Options of a request reach the model. Options that are left out are as configured."""

from typing import Any

import httpx
import pytest
from faster_whisper.audio import decode_audio

from api.live import ALL, serving, tone
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.vad import VadOptions, detect_speech
from asr_service.languages import LANGUAGES
from fakes import FakeModel, fake_tokenizer, writing
from speech import RECORDINGS


@pytest.mark.parametrize("field", ["file", "audio"])
def test_a_form_has_the_recording_in_file_or_audio(live, field):
    """The name and the declared type of the file do not matter."""
    name = 'a "b"\r\n../../etc/пароль\x00;.html'
    answer = httpx.post(f"{live.url}/transcribe", files={field: (name, tone(), "text/html")}, data=ALL)
    assert (answer.status_code, answer.json()["text"]) == (200, "hello")


@pytest.mark.parametrize(
    "head",
    [
        "form-data; name=\"file\"; filename*=UTF-8''f%C3%BCr.wav",
        "form-data; name=file; FILENAME*=UTF-8''a.wav",
        'form-data; name="file"\r\nContent-Type: audio/wav',
        'form-data; name="audio"\r\nContent-Type: video/mp4',
        'form-data; name="file"\r\nContent-Type: application/octet-stream',
    ],
)
@pytest.mark.parametrize("preamble", ["", "This is a form.\r\n", "--x is no boundary\r\n" * 100])
@pytest.mark.parametrize("part_bytes", [13, 100_000])
def test_a_recording_may_have_no_plain_filename(live, head, preamble, part_bytes):
    """Its part has `filename*` or the type of audio. Text before the first boundary is skipped.

    Neither depends on how the network divides the body.
    """
    end = b'\r\n--xx\r\nContent-Disposition: form-data; name="vad_filter"\r\n\r\nfalse\r\n--xx--\r\n'
    start = f"{preamble}--xx\r\nContent-Disposition: {head}\r\n\r\n".encode()
    body = start + tone(0.1 if part_bytes == 13 else 3) + end
    parts = (body[at : at + part_bytes] for at in range(0, len(body), part_bytes))
    answer = httpx.post(
        f"{live.url}/transcribe", content=parts, headers={"content-type": "multipart/form-data; boundary=xx"}
    )
    assert (answer.status_code, answer.json().get("text")) == (200, "hello"), answer.text


@pytest.mark.parametrize("media_type", ["audio/wav", "audio/x-nonsense; a=b", "application/octet-stream", "video/mp4"])
def test_a_body_may_be_the_recording_itself(live, media_type):
    """Raw audio needs no form. Its options are in the query."""
    answer = httpx.post(
        f"{live.url}/transcribe?vad_filter=false&language=de", content=tone(), headers={"content-type": media_type}
    )
    assert (answer.status_code, answer.json()["language"]) == (200, "de")


def test_a_chunked_body_is_accepted(live):
    """A body does not need a Content-Length."""
    parts = (tone()[at : at + 5000] for at in range(0, len(tone()), 5000))
    answer = httpx.post(f"{live.url}/transcribe", params=ALL, content=parts, headers={"content-type": "audio/wav"})
    assert (answer.status_code, answer.json()["duration"]) == (200, 1.0)


def test_options_may_be_in_the_form_and_in_the_query(live):
    """The options of both are used."""
    answer = live.post("/transcribe?language=fr&beam_size=2", max_new_tokens="7")
    assert answer.json()["language"] == "fr"
    assert live.model.last_options().beam_size == 2


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, {"beam_size": 5, "temperature": 0.0, "max_length": 448}),
        ({"beam_size": "10"}, {"beam_size": 10}),
        ({"temperature": "0.7"}, {"temperature": 0.7}),
        ({"max_new_tokens": "20", "language": "en"}, {"max_length": 2 * 20}),
        ({"max_new_tokens": "20", "language": "en", "timestamps": "off"}, {"max_length": 2 * 20}),
    ],
)
def test_numbers_reach_the_model(live, fields, wanted):
    """These are beam_size, temperature and max_new_tokens, which is added to the length of the prompt."""
    assert live.post(**fields).status_code == 200
    options = live.model.last_options()
    assert {name: getattr(options, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("path", "fields", "wanted"),
    [
        ("/transcribe", {"language": "pt"}, "<|startoftranscript|><|pt|><|transcribe|>"),
        ("/transcribe", {"language": "Portuguese"}, "<|startoftranscript|><|pt|><|transcribe|>"),
        ("/transcribe", {"language": "pt", "task": "translate"}, "<|startoftranscript|><|pt|><|translate|>"),
        ("/translate", {"language": "pt"}, "<|startoftranscript|><|pt|><|translate|>"),
        (
            "/transcribe",
            {"language": "pt", "timestamps": "0"},
            "<|startoftranscript|><|pt|><|transcribe|><|notimestamps|>",
        ),
        (
            "/transcribe",
            {"language": "pt", "hotwords": "Ørsted", "initial_prompt": "Olá, João."},
            "<|startofprev|> Ørsted Olá, João.<|startoftranscript|><|pt|><|transcribe|>",
        ),
    ],
)
def test_language_task_and_prompts_reach_the_model(live, path, fields, wanted):
    """They are the tokens that the decoder starts with."""
    assert live.post(path, **fields).status_code == 200
    assert live.model.last_prompt() == wanted
    assert not live.model.calls_of("detect")


@pytest.mark.parametrize(
    ("language", "n_least", "n_most"),
    [("", 1, 1), ("auto", 1, 1), ("auto-per-chunk", 7, 40), ("AUTO-Per-Chunk", 7, 40)],
)
def test_the_language_is_detected_once_or_in_each_span(live, language, n_least, n_most):
    """`auto` detects it in the first of two windows. `auto-per-chunk` detects it at least every 6 s."""
    answer = live.post(audio=tone(40), language=language)
    assert answer.json()["language"] == "en"
    assert n_least <= sum(call.n_windows for call in live.model.calls_of("detect")) <= n_most
    assert sum(call.n_windows for call in live.model.calls_of("generate")) == 2


def test_voice_activity_detection_can_be_turned_on(live):
    """With the filter a tone has no speech, and the model is not called."""
    empty = live.post(vad_filter="true").json()
    assert (empty["text"], empty["segments"], empty["duration"], empty["duration_after_vad"]) == ("", [], 1.0, 0.0)
    assert not live.model.calls
    assert live.post(vad_filter="true", vad_threshold="0", min_silence_duration_ms="0").json()["text"] == "hello"


def test_words_are_timed_on_request(live):
    """Segments have `words` with word_timestamps, and not without."""
    words = live.post(word_timestamps="true").json()["segments"][0]["words"]
    assert [set(word) for word in words] == [{"word", "start", "end", "probability"}]
    assert "words" not in live.post().json()["segments"][0]


LONG = " he began a confused complaint against the wizard, who had vanished behind the curtain on the left"


def test_subtitles_have_the_requested_layout(live):
    """The request sets widths, lines and times. By default a line has 42 characters and a cue has two lines."""
    live.model.script = writing(LONG, until_s=9.0)
    usual = cues_of(live.post(audio=tone(9), response_format="srt"))
    assert [len(cue) for cue in usual] == [2, 2]
    assert all(len(line) <= 42 for cue in usual for line in cue)
    fields = {"max_line_width": "20", "max_line_count": "3", "min_cue_s": "0.5", "max_cue_s": "6"}
    narrow = cues_of(live.post(audio=tone(9), response_format="vtt", **fields))
    assert max(len(cue) for cue in narrow) == 3
    assert all(len(line) <= 20 for cue in narrow for line in cue)
    assert "<00:00:0" in live.post(audio=tone(9), response_format="vtt", highlight_words="true").text


@pytest.mark.parametrize(
    ("path", "fields", "n_aligned"),
    [
        ("/transcribe", {}, 1),
        ("/transcribe", {"word_timestamps": "false"}, 0),
        ("/translate", {}, 0),
        ("/translate", {"highlight_words": "true"}, 1),
    ],
)
def test_subtitles_are_cut_by_word_times(live, path, fields, n_aligned):
    """Words are timed by default, unless the request says no or the text is a translation."""
    assert live.post(path, response_format="vtt", **fields).text.endswith("\nhello\n")
    assert len(live.model.calls_of("align")) == n_aligned


@pytest.mark.parametrize(
    ("fields", "param", "expected"),
    [
        ({"max_line_width": "42"}, "max_line_width", "response_format=srt or vtt"),
        ({"response_format": "srt", "max_line_width": "7"}, "max_line_width", "expected a whole number from 8 to 200"),
        ({"response_format": "srt", "min_cue_s": "3", "max_cue_s": "2"}, "min_cue_s", "is more than max_cue_s=2"),
        ({"response_format": "srt", "min_cue_s": "nan"}, "min_cue_s", "expected a number from 0 to 10"),
        ({"response_format": "srt", "highlight_words": "1"}, "highlight_words", "response_format=vtt"),
        (
            {"response_format": "vtt", "highlight_words": "1", "word_timestamps": "0"},
            "highlight_words",
            "requires word_timestamps",
        ),
    ],
)
def test_an_impossible_layout_is_refused(live, fields, param, expected):
    """Subtitle options for another format, out of range or in conflict are a 422. None is ignored."""
    answer = live.post(**fields)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == param
    assert expected in answer.json()["error"]["message"]


WIZARD = RECORDINGS["en-wizard"].path


def speech_s(vad: VadOptions) -> float:
    """Return the seconds of speech in that recording."""
    return sum(map(len, detect_speech(decode_audio(str(WIZARD)), vad))) / SAMPLE_RATE


@pytest.mark.parametrize("vad", [VadOptions(0.5, 500, 0), VadOptions(0.5, 100, 0), VadOptions(0.9, 500, 0)], ids=str)
def test_the_options_of_voice_activity_detection_reach_it(live, vad):
    """Each combination of threshold, silence and padding skips other parts of the same recording."""
    fields = {"vad_threshold": vad.threshold, "speech_pad_ms": vad.speech_pad_ms}
    fields |= {"min_silence_duration_ms": vad.min_silence_duration_ms, "vad_filter": True}
    answer = live.post(audio=WIZARD.read_bytes(), **{name: str(value) for name, value in fields.items()}).json()
    assert answer["duration_after_vad"] == pytest.approx(speech_s(vad), abs=0.01)


def test_voice_activity_detection_is_as_configured_by_default():
    """ASR_VAD_THRESHOLD and ASR_MIN_SILENCE_DURATION_MS set the defaults."""
    with serving(vad_threshold=0.9, min_silence_duration_ms=100) as live:
        answer = live.post(audio=WIZARD.read_bytes(), vad_filter="true", speech_pad_ms="0").json()
    assert answer["duration_after_vad"] == pytest.approx(speech_s(VadOptions(0.9, 100, 0)), abs=0.01)


def cues_of(answer: httpx.Response) -> list[list[str]]:
    """Return the lines of each cue."""
    blocks = answer.text.strip().split("\n\n")
    return [
        [line for line in block.split("\n") if "-->" not in line and not line.isdigit()]
        for block in blocks
        if "-->" in block
    ]


def test_the_settings_have_the_defaults():
    """The options of a request override them."""
    configured: dict[str, Any] = {
        "language": "Swedish",
        "beam_size": 2,
        "initial_prompt": "Hej",
        "max_new_tokens": 30,
        "timestamps": False,
        "word_timestamps": True,
        "vad_filter": False,
    }
    with serving(**configured) as live:
        answer = httpx.post(f"{live.url}/transcribe", files={"file": tone()}).json()
        assert answer["language"] == "sv"
        assert answer["segments"][0]["words"]
        prompt, options = live.model.last_prompt(), live.model.last_options()
        assert prompt == "<|startofprev|> Hej<|startoftranscript|><|sv|><|transcribe|><|notimestamps|>"
        assert (options.beam_size, options.max_length) == (2, 2 * 30)
        overridden = live.post(language="auto", beam_size="1", timestamps="true", word_timestamps="false").json()
        assert (overridden["language"], live.model.last_options().beam_size) == ("en", 1)
        assert "words" not in overridden["segments"][0]


@pytest.mark.parametrize(
    ("path", "fields", "param", "expected"),
    [
        ("/translate", {}, "task", "knows only English and cannot translate"),
        ("/transcribe", {"task": "translate"}, "task", "knows only English and cannot translate"),
        ("/transcribe", {"language": "French"}, "language", "knows only English. Leave out language=fr."),
    ],
)
def test_an_english_only_model_refuses_translation_and_other_languages(english, path, fields, param, expected):
    """The response is a 422 that names the reason."""
    answer = english.post(path, **fields)
    assert answer.status_code == 422
    assert (answer.json()["error"]["param"], expected in answer.json()["error"]["message"]) == (param, True)


@pytest.mark.parametrize("language", ["", "auto", "en", "English"])
def test_an_english_only_model_accepts_english(english, language):
    """Its prompt has no language token, and no language is detected."""
    assert english.post(language=language).json()["language"] == "en"
    assert english.model.last_prompt() == "<|startoftranscript|>"


@pytest.fixture(scope="module")
def english():
    with serving(FakeModel().english_only()) as live:
        yield live


def test_a_language_that_the_model_does_not_know_is_refused():
    """Only large-v3 knows Cantonese."""
    model = FakeModel(tokenizer=fake_tokenizer([code for code in LANGUAGES if code != "yue"]))
    with serving(model) as live:
        error = live.post(language="Cantonese")
    assert error.status_code == 422
    assert error.json()["error"]["message"] == "Model 'fake' does not know Cantonese."
