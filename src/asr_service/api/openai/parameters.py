"""Converts the fields of OpenAI's audio API to request options, and from there to decoding options."""

import re
from collections.abc import Mapping

from pydantic_core import from_json

from asr_service.api.handler import TranscriptionRequest
from asr_service.api.native.parameters import once
from asr_service.api.openai.schemas import ServerVad, TranscriptionForm, TranslationForm
from asr_service.api.upload import Fields
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.request_options import RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.errors import InvalidParameter, MalformedRequest, ModelNotFound
from asr_service.formats import EVENTS, OPENAI_FORMATS, WORDS_AND_SEGMENTS, WORDS_ONLY, Format
from asr_service.models.resolution import served_names
from asr_service.settings import Settings
from asr_service.validation import check_fields

WHISPER_1 = "whisper-1"
"""The name that OpenAI's clients send by default. It stands for the loaded model."""

_LISTS = frozenset({"timestamp_granularities", "keywords", "languages"})
_CHUNKING = "chunking_strategy"
_PART_OF_CHUNKING = re.compile(rf"{_CHUNKING}\[(\w+)\]")
_MAX_PROMPT_CHARS = 4000
"""Well over the 223 tokens of a prompt that count."""

_UNSUPPORTED = {
    "include": "The service returns no token probabilities. `verbose_json` has the probabilities of segments.",
    "known_speaker_names": "The service does not distinguish speakers.",
    "known_speaker_references": "The service does not distinguish speakers.",
}


def require_served(name: str, settings: Settings, model: SpeechModel) -> None:
    """Check that a model is loaded under this name. Raises ModelNotFound, which lists the names: it is not."""
    names = (*served_names(settings, model.facts.name), WHISPER_1)
    if name not in names:
        raise ModelNotFound(f"Model {name[:64]!r} is not available. Available: {', '.join(names)}.", param="model")


def read_transcription(fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
    """Read the fields of /v1/audio/transcriptions. Raises InvalidParameter, MalformedRequest, ModelNotFound."""
    form = check_fields(TranscriptionForm, _by_name(fields))
    require_served(form.model, settings, model)
    fmt = _format(form)
    vad = form.chunking_strategy if isinstance(form.chunking_strategy, ServerVad) else None
    options = RequestOptions(
        initial_prompt=_end_of(form.prompt),
        temperature=form.temperature,
        language=_language(form),
        hotwords=", ".join(form.keywords)[:_MAX_PROMPT_CHARS] or None,
        word_timestamps=True if fmt.styled or "word" in form.timestamp_granularities else None,
        vad_filter=True if form.chunking_strategy else None,
        vad_threshold=vad.threshold if vad else None,
        min_silence_duration_ms=vad.silence_duration_ms if vad else None,
        speech_pad_ms=vad.prefix_padding_ms if vad else None,
    )
    return TranscriptionRequest(resolve_options(options, settings, model), fmt)


def read_translation(fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
    """Read the fields of /v1/audio/translations. Raises InvalidParameter, MalformedRequest, ModelNotFound."""
    form = check_fields(TranslationForm, _by_name(fields))
    require_served(form.model, settings, model)
    options = RequestOptions(initial_prompt=_end_of(form.prompt), temperature=form.temperature)
    return TranscriptionRequest(
        resolve_options(options, settings, model, default_task="translate"), OPENAI_FORMATS[form.response_format]
    )


def _by_name(fields: Fields) -> Mapping[str, object]:
    """Return the fields by name. Clients send lists as repeated `name[]` or `name`, objects as `name[key]` or JSON."""
    plain: list[tuple[str, str]] = []
    chunking: list[tuple[str, str]] = []
    lists: dict[str, list[str]] = {}
    for name, value in fields:
        bare = name.removesuffix("[]")
        if bare in _UNSUPPORTED and value:
            raise InvalidParameter(f"{bare!r} is not supported. {_UNSUPPORTED[bare]}", param=bare)
        if bare in _LISTS:
            lists.setdefault(bare, []).extend([value] if value else [])
        elif part := _PART_OF_CHUNKING.fullmatch(name):
            chunking.append((part[1], value))
        elif bare not in _UNSUPPORTED:
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


def _format(form: TranscriptionForm) -> Format:
    verbose = form.response_format == "verbose_json"
    if form.timestamp_granularities and not verbose:
        raise InvalidParameter(
            "timestamp_granularities requires response_format=verbose_json.", param="timestamp_granularities"
        )
    if form.stream and form.response_format not in {"json", "text"}:
        raise InvalidParameter(
            f"stream=true requires response_format=json or text, not {form.response_format}.", param="stream"
        )
    if form.stream:
        return EVENTS
    if "word" in form.timestamp_granularities:
        return WORDS_AND_SEGMENTS if "segment" in form.timestamp_granularities else WORDS_ONLY
    return OPENAI_FORMATS[form.response_format]


def _language(form: TranscriptionForm) -> str | None:
    if form.language and form.languages:
        raise InvalidParameter("Send language or languages, not both.", param="languages")
    return form.languages[0] if form.languages else form.language


def _end_of(prompt: str | None) -> str | None:
    """Keep the end of a long prompt, as the hosted service does. A prompt may be everything that was said before."""
    return prompt[-_MAX_PROMPT_CHARS:] if prompt else None
