"""From the fields of OpenAI's audio API to the engine's terms, by way of this service's own options."""

import re
from collections.abc import Mapping

from pydantic_core import from_json

from asr_service.api.handler import TranscriptionRequest
from asr_service.api.native.parameters import once
from asr_service.api.openai.models import require_served
from asr_service.api.openai.schemas import ServerVad, TranscriptionForm, TranslationForm
from asr_service.api.upload import Fields
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.request_options import RequestOptions
from asr_service.engine.resolve_options import resolve_options
from asr_service.errors import InvalidParameter, MalformedRequest
from asr_service.formats import EVENTS, OPENAI_FORMATS, WORDS_ONLY, WORDS_TOO, Format
from asr_service.settings import Settings
from asr_service.validation import check_fields

_LISTS = frozenset({"timestamp_granularities", "keywords", "languages"})
_CHUNKING = "chunking_strategy"
_PART_OF_CHUNKING = re.compile(rf"{_CHUNKING}\[(\w+)\]")
_MOST_CHARACTERS = 4000
"""Of a prompt, well over the 223 tokens that count."""

_REFUSED = {
    "include": "probabilities of tokens are not given here; verbose_json has those of segments",
    "known_speaker_names": "speakers are not told apart here; leave it out",
    "known_speaker_references": "speakers are not told apart here; leave it out",
}


def read_transcription(fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
    """Raises InvalidParameter, MalformedRequest, ModelNotFound."""
    form = check_fields(TranscriptionForm, _gathered(fields))
    require_served(form.model, settings, model)
    fmt = _format(form)
    vad = form.chunking_strategy if isinstance(form.chunking_strategy, ServerVad) else None
    ours = RequestOptions(
        initial_prompt=_end_of(form.prompt),
        temperature=form.temperature,
        language=_language(form),
        hotwords=", ".join(form.keywords)[:_MOST_CHARACTERS] or None,
        word_timestamps=True if fmt.styled or "word" in form.timestamp_granularities else None,
        vad_filter=True if form.chunking_strategy else None,
        vad_threshold=vad.threshold if vad else None,
        min_silence_duration_ms=vad.silence_duration_ms if vad else None,
        speech_pad_ms=vad.prefix_padding_ms if vad else None,
    )
    return TranscriptionRequest(resolve_options(ours, settings, model), fmt)


def read_translation(fields: Fields, settings: Settings, model: SpeechModel) -> TranscriptionRequest:
    """Raises InvalidParameter, MalformedRequest, ModelNotFound."""
    form = check_fields(TranslationForm, _gathered(fields))
    require_served(form.model, settings, model)
    ours = RequestOptions(initial_prompt=_end_of(form.prompt), temperature=form.temperature)
    return TranscriptionRequest(
        resolve_options(ours, settings, model, default_task="translate"), OPENAI_FORMATS[form.response_format]
    )


def _gathered(fields: Fields) -> Mapping[str, object]:
    """Fields by name. Clients write lists as `name[]` or `name`, time and again, and objects as `name[key]` or JSON."""
    plain: list[tuple[str, str]] = []
    chunking: list[tuple[str, str]] = []
    lists: dict[str, list[str]] = {}
    for name, value in fields:
        bare = name.removesuffix("[]")
        if bare in _REFUSED and value:
            raise InvalidParameter(f"{bare} cannot be had: {_REFUSED[bare]}", param=bare)
        if bare in _LISTS:
            lists.setdefault(bare, []).extend([value] if value else [])
        elif part := _PART_OF_CHUNKING.fullmatch(name):
            chunking.append((part[1], value))
        elif bare not in _REFUSED:
            plain.append((name, value))
    values: dict[str, object] = {**once(plain), **lists}
    if chunking and _CHUNKING in values:
        raise MalformedRequest(f"Field {_CHUNKING!r} is given twice.", param=_CHUNKING)
    return {**values, _CHUNKING: {key: _typed(value) for key, value in once(chunking).items()}} if chunking else values


def _typed(value: str) -> object:
    """As it would be in JSON."""
    try:
        return from_json(value)
    except ValueError:
        return value


def _format(form: TranscriptionForm) -> Format:
    verbose = form.response_format == "verbose_json"
    if form.timestamp_granularities and not verbose:
        raise InvalidParameter(
            "timestamp_granularities needs response_format=verbose_json", param="timestamp_granularities"
        )
    if form.stream and form.response_format not in {"json", "text"}:
        raise InvalidParameter(
            f"stream gives events of text, and no {form.response_format}: leave one of the two out", param="stream"
        )
    if form.stream:
        return EVENTS
    if "word" in form.timestamp_granularities:
        return WORDS_TOO if "segment" in form.timestamp_granularities else WORDS_ONLY
    return OPENAI_FORMATS[form.response_format]


def _language(form: TranscriptionForm) -> str | None:
    if form.language and form.languages:
        raise InvalidParameter("give language or languages, not both", param="languages")
    return form.languages[0] if form.languages else form.language


def _end_of(prompt: str | None) -> str | None:
    """The last of it counts, as at the hosted service; it may be all that was said before."""
    return prompt[-_MOST_CHARACTERS:] if prompt else None
