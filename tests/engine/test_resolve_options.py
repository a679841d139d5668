"""How DecodingOptions follow from a request, the settings and the model."""

import pytest

from asr_service.audio.vad import VadOptions
from asr_service.engine.options import DecodingOptions
from asr_service.engine.request_options import RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.errors import InvalidParameter
from asr_service.settings import Settings
from fakes import FakeModel, fake_tokenizer

CONFIGURED = Settings(
    language="German",
    beam_size=3,
    initial_prompt="Guten Tag",
    max_new_tokens=100,
    timestamps=False,
    word_timestamps=True,
    vad_filter=False,
    vad_threshold=0.7,
    min_silence_duration_ms=300,
)


def test_options_that_a_request_leaves_out_come_from_the_settings():
    """Every setting for requests has its option."""
    assert resolve_options(RequestOptions(), CONFIGURED, FakeModel()) == DecodingOptions(
        language="de",
        beam_size=3,
        initial_prompt="Guten Tag",
        max_new_tokens=100,
        timestamps=False,
        word_timestamps=True,
        vad_filter=False,
        vad=VadOptions(threshold=0.7, min_silence_duration_ms=300),
    )


def test_a_request_overrides_the_settings():
    """Values that count as false override them too."""
    requested = RequestOptions(
        language="auto-per-chunk",
        task="translate",
        beam_size=1,
        temperature=0.5,
        initial_prompt="",
        hotwords="Ada",
        max_new_tokens=5,
        timestamps=True,
        word_timestamps=False,
        vad_filter=True,
        vad_threshold=0.0,
        min_silence_duration_ms=0,
        speech_pad_ms=0,
    )
    assert resolve_options(requested, CONFIGURED, FakeModel()) == DecodingOptions(
        task="translate",
        language=None,
        language_per_chunk=True,
        beam_size=1,
        temperature=0.5,
        initial_prompt="",
        hotwords="Ada",
        max_new_tokens=5,
        timestamps=True,
        word_timestamps=False,
        vad_filter=True,
        vad=VadOptions(0.0, 0, 0),
    )


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [("2", "2"), (" 2 ", "2"), ("hsb", "hsb"), ("German", "German,de,deu,ger"), ("ger", "ger,de,deu"), ("a,b", "a b")],
)
def test_a_track_is_chosen_by_every_code_of_its_language(asked: str, wanted: str):
    """Matroska has codes of ISO 639-2, MP4 of 639-2/T. A language that Whisper does not know is passed on."""
    options = resolve_options(RequestOptions(audio_track=asked), Settings(), FakeModel())
    assert options.audio_track == wanted


@pytest.mark.parametrize(("requested", "times_words"), [(None, True), (False, False)])
def test_a_format_may_ask_for_word_times(requested: bool | None, times_words: bool):
    """It does not override the request."""
    options = resolve_options(RequestOptions(word_timestamps=requested), Settings(), FakeModel(), time_words=True)
    assert options.word_timestamps is times_words


@pytest.mark.parametrize("language", ["Klingon", ""])
def test_an_unknown_language_is_refused(language: str):
    """With InvalidParameter, as soon as the request's options are read."""
    with pytest.raises(InvalidParameter, match="is not supported"):
        RequestOptions(language=language)


def test_an_english_only_model_accepts_only_english():
    """English need not be named. Other languages and translation are refused."""
    model = FakeModel().english_only()
    assert resolve_options(RequestOptions(), Settings(), model).language == "en"
    with pytest.raises(InvalidParameter, match=r"^Model 'fake' knows only English\. Leave out language=fr\.$"):
        resolve_options(RequestOptions(language="fr"), Settings(), model)
    with pytest.raises(InvalidParameter, match=r"^Model 'fake' knows only English and cannot translate\.$"):
        resolve_options(RequestOptions(), Settings(), model, default_task="translate")


def test_candidates_bound_the_detection_and_replace_the_configured_language() -> None:
    """A language that the model does not know is refused. A request with one language needs no candidates."""
    settings = Settings(language="de")
    asked = resolve_options(RequestOptions(), settings, FakeModel(), languages=("en", "fr"))
    assert (asked.language, asked.languages) == (None, ("en", "fr"))
    fixed = resolve_options(RequestOptions(language="fr"), settings, FakeModel(), languages=("en", "fr"))
    assert (fixed.language, fixed.languages) == ("fr", ())
    few = FakeModel(tokenizer=fake_tokenizer(["en", "fr"]))
    with pytest.raises(InvalidParameter, match="does not know German") as raised:
        resolve_options(RequestOptions(), settings, few, languages=("en", "de"))
    assert raised.value.param == "languages"


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [((), {"en": 0.6, "fr": 0.3}), (("fr", "de"), {"fr": 0.3}), (("de", "pt"), {"de": 0.0})],
)
def test_a_detection_chooses_among_the_candidates(candidates: tuple[str, ...], chosen: dict[str, float]) -> None:
    """The first candidate is taken if the model gives none of them a probability."""
    assert DecodingOptions(languages=candidates).among_candidates({"en": 0.6, "fr": 0.3}) == chosen
