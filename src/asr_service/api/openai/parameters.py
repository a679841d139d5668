"""Converts the fields of OpenAI's audio API to request options, and from there to decoding options."""

import re
from collections.abc import Mapping, Sequence

from pydantic_core import from_json

from asr_service.api.handler import TranscriptionRequest
from asr_service.api.native.parameters import chosen_format, needs_word_times, once
from asr_service.api.openai.fields import strip_foreign
from asr_service.api.openai.schemas import OpenAIForm, ServerVad
from asr_service.api.upload import Fields
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import MAX_LENGTH, Task
from asr_service.engine.request_options import MAX_PROMPT_CHARS, RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.errors import InvalidParameter, MalformedRequest, ModelNotFound
from asr_service.formats import EVENTS, OPENAI_FORMATS, WORDS_AND_SEGMENTS, WORDS_ONLY, Format
from asr_service.languages import chosen_language, chosen_script, parse_language
from asr_service.models.resolution import served_names, serves_any_name
from asr_service.settings import Settings
from asr_service.validation import check_fields

_LIST = re.compile(r"(timestamp_granularities|keywords|languages)(?:\[[0-9]*\])?")
"""A list's name, with the brackets or the index that most clients write."""
_CHUNKING = "chunking_strategy"
_PART_OF_CHUNKING = re.compile(rf"{_CHUNKING}\[(\w+)\]")
_INTO_ENGLISH = {("to_language", "en"), ("to_language", "english")}


def require_served(name: str, settings: Settings, model: SpeechModel) -> None:
    """Check that a model is loaded under this name. Raises ModelNotFound, which lists the names: it is not."""
    names = served_names(settings, model.facts.name)
    if name not in names and not serves_any_name(settings):
        raise ModelNotFound(
            f"Model {name[:64]!r} is not available. Available: {', '.join(names)}. ASR_MODEL_ALIASES adds names.",
            param="model",
        )


def read_transcription(fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
    """Read the fields of /v1/audio/transcriptions. Raises InvalidParameter, MalformedRequest, ModelNotFound."""
    return _read(fields, settings, model, "transcribe")


def read_translation(fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
    """Read the fields of /v1/audio/translations. Raises InvalidParameter, MalformedRequest, ModelNotFound."""
    return _read(fields, settings, model, "translate")


def _read(fields: Fields, settings: Settings, model: SpeechModel, endpoint: Task) -> TranscriptionRequest:
    if endpoint == "translate":  # vLLM's name of the language of the text
        fields = tuple(pair for pair in fields if pair not in _INTO_ENGLISH)
    own, warnings = strip_foreign(fields)
    form = check_fields(OpenAIForm, _by_name(own))
    require_served(form.model, settings, model)
    if endpoint == "translate" and form.task == "transcribe":
        raise InvalidParameter("task=transcribe is not valid here. Use /v1/audio/transcriptions.", param="task")
    fmt, language = _format(form), form.language
    if endpoint == "translate" and language and chosen_language(language) == "en":
        language = None  # here clients name the language of the text; spoken English is detected too
    language, candidates = language_candidates(form.languages, language)
    given = form.model_dump(include=RequestOptions.model_fields.keys() - {"language", "hotwords"}, exclude_none=True)
    options = RequestOptions(**(_other_names(form) | given), language=language)
    time_words = needs_word_times(form, form.task or endpoint) or fmt in {WORDS_ONLY, WORDS_AND_SEGMENTS}
    return TranscriptionRequest(
        resolve_options(
            options,
            settings,
            model,
            default_task=endpoint,
            time_words=time_words,
            languages=candidates,
            script=next(filter(None, map(chosen_script, form.languages)), None),
        ),
        fmt,
        warnings,
    )


def _by_name(fields: Fields) -> Mapping[str, object]:
    """Return the fields by name. Lists come as repeated `name[]` or `name`, objects as `name[key]` or JSON."""
    plain: list[tuple[str, str]] = []
    chunking: list[tuple[str, str]] = []
    lists: dict[str, list[str]] = {}
    for name, value in fields:
        if item := _LIST.fullmatch(name):
            lists.setdefault(item[1], []).extend([value] if value else [])
        elif part := _PART_OF_CHUNKING.fullmatch(name):
            chunking.append((part[1], value))
        else:
            plain.append((name, value))
    values: dict[str, object] = {**once(plain), **lists}
    if chunking and _CHUNKING in values:
        raise MalformedRequest(f"Field {_CHUNKING!r} is given twice.", param=_CHUNKING)
    return {**values, _CHUNKING: {key: _typed(value) for key, value in once(chunking).items()}} if chunking else values


def _typed(value: str) -> object:
    """Parse a JSON value. Other text stays text."""
    try:
        return from_json(value)
    except ValueError:
        return value


def _format(form: OpenAIForm) -> Format:
    fmt = chosen_format(form, OPENAI_FORMATS)
    if form.stream and form.response_format not in {"json", "text"}:
        raise InvalidParameter(
            f"stream=true requires response_format=json or text, not {form.response_format}.", param="stream"
        )
    if form.stream:
        return EVENTS
    if form.response_format == "verbose_json" and "word" in form.timestamp_granularities:
        return WORDS_AND_SEGMENTS if "segment" in form.timestamp_granularities else WORDS_ONLY
    return fmt


def language_candidates(names: Sequence[str], language: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the language, or how to detect it, and the codes that the detection chooses among.

    `names` are the languages that may be spoken. Raises InvalidParameter: one is unknown, or `language` is not one.
    """
    try:
        codes = tuple(dict.fromkeys(map(parse_language, names)))
    except InvalidParameter as error:
        raise InvalidParameter(error.message, param="languages") from error
    code = chosen_language(language) if language else None
    if codes and code and code not in codes:
        raise InvalidParameter(f"language={code} is not among the languages {', '.join(codes)}.", param="languages")
    if len(codes) == 1:
        return language if code else names[0], ()
    return language, codes


def _other_names(form: OpenAIForm) -> dict[str, object]:
    """Return the options that the form has under names of OpenAI's, of vLLM's and of faster-whisper's."""
    if form.prompt and form.initial_prompt:
        raise InvalidParameter("Send prompt or initial_prompt, not both.", param="initial_prompt")
    terms = ", ".join([*([form.hotwords] if form.hotwords else []), *form.keywords])
    vad = form.chunking_strategy if isinstance(form.chunking_strategy, ServerVad) else None
    options = {
        "initial_prompt": form.prompt[-MAX_PROMPT_CHARS:] if form.prompt else None,  # may be all that was said before
        "hotwords": terms[:MAX_PROMPT_CHARS] or None,
        "vad_filter": True if form.chunking_strategy else None,
        "vad_threshold": vad.threshold if vad else None,
        "min_silence_duration_ms": vad.silence_duration_ms if vad else None,
        "speech_pad_ms": vad.prefix_padding_ms if vad else None,
        "timestamps": None if form.without_timestamps is None else not form.without_timestamps,
        "max_new_tokens": min(form.max_completion_tokens, MAX_LENGTH) if form.max_completion_tokens else None,
    }
    return {name: value for name, value in options.items() if value is not None}
