"""From a request's fields to the engine's terms."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from asr_service.api.native.schemas import TranscribeParameters
from asr_service.api.native.subtitles import words_wanted
from asr_service.api.upload import Fields
from asr_service.audio.vad import VadOptions
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.model.vocabulary import known_languages
from asr_service.engine.options import DecodingOptions, Task
from asr_service.errors import InvalidParameter, MalformedRequest, RequestError
from asr_service.languages import DETECT, DETECT_EACH_WINDOW, LANGUAGES, parse_language
from asr_service.settings import Settings

Form = TypeVar("Form", bound=BaseModel)
Value = TypeVar("Value")


def parse_parameters(fields: Fields) -> TranscribeParameters:
    """Check the fields' names and values.

    Raises InvalidParameter, which names the first that is wrong, and MalformedRequest where one is given twice.
    """
    return checked(TranscribeParameters, once(fields))


def once(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By name; an empty field is one that a web form left out. Raises MalformedRequest."""
    fields: dict[str, str] = {}
    for name, value in given:
        if name in fields:
            raise MalformedRequest(f"the field {name[:64]!r} is given twice", param=name[:64])
        fields[name] = value
    return {name: value for name, value in fields.items() if value != ""}


def checked(form: type[Form], values: Mapping[str, object]) -> Form:
    """Raises InvalidParameter, which names the first value that is wrong, and MalformedRequest where one is missing."""
    try:
        return form.model_validate(values)
    except ValidationError as error:
        raise _refusal(form, error) from error


def _refusal(form: type[BaseModel], error: ValidationError) -> RequestError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return MalformedRequest(f"the field {name} is required", param=name)
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return InvalidParameter(_unknown(form, name), param=name[:64])
    within = ".".join(part[:64] for part in first["loc"] if isinstance(part, str))
    if first["type"] == "missing":
        return InvalidParameter(f"{within} is required", param=name)
    return InvalidParameter(f"{within}={str(first['input'])[:64]!r}: {first['msg']}", param=name)


def _unknown(form: type[BaseModel], name: str) -> str:
    known = list(form.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "there are file, " + ", ".join(known)
    return f"there is no field {name[:64]!r}: {hint}"


def decoding_options(
    asked: TranscribeParameters, default_task: Task, settings: Settings, model: SpeechModel
) -> DecodingOptions:
    """Fill in what was not asked for, and check the whole against the model. Raises InvalidParameter."""
    task = asked.task or default_task
    if default_task == "translate" and task != "translate":
        raise InvalidParameter("/translate translates; send this to /transcribe", param="task")
    language = asked.language if asked.language is not None else settings.language
    code, per_chunk = _language(language, task, model)
    return DecodingOptions(
        task=task,
        language=code,
        language_per_chunk=per_chunk,
        beam_size=_either(asked.beam_size, settings.beam_size),
        temperature=_either(asked.temperature, 0.0),
        initial_prompt=_either(asked.initial_prompt, settings.initial_prompt),
        hotwords=asked.hotwords,
        max_new_tokens=_either(asked.max_new_tokens, settings.max_new_tokens),
        timestamps=_either(asked.timestamps, settings.timestamps),
        word_timestamps=_either(asked.word_timestamps, settings.word_timestamps or words_wanted(asked, task)),
        vad_filter=_either(asked.vad_filter, settings.vad_filter),
        vad=VadOptions(
            threshold=_either(asked.vad_threshold, settings.vad_threshold),
            min_silence_duration_ms=_either(asked.min_silence_duration_ms, settings.min_silence_duration_ms),
            speech_pad_ms=_either(asked.speech_pad_ms, VadOptions().speech_pad_ms),
        ),
    )


def _either(asked: Value | None, configured: Value) -> Value:
    return configured if asked is None else asked


def _language(language: str | None, task: Task, model: SpeechModel) -> tuple[str | None, bool]:
    """The language's code, None to detect it, and whether to do so in each window."""
    facts = model.facts
    wanted = (language or DETECT).strip().lower()
    code = None if wanted in {DETECT, DETECT_EACH_WINDOW} else parse_language(wanted)
    if not facts.multilingual:
        return _english_only(code, task, facts.name), False
    if code and code not in known_languages(model):
        raise InvalidParameter(f"the model {facts.name} does not know {LANGUAGES[code]}", param="language")
    return code, wanted == DETECT_EACH_WINDOW


def _english_only(code: str | None, task: Task, name: str) -> str:
    if task == "translate":
        raise InvalidParameter(f"the model {name} knows English alone and cannot translate", param="task")
    if code not in {None, "en"}:
        raise InvalidParameter(f"the model {name} knows English alone; leave out language={code}", param="language")
    return "en"
