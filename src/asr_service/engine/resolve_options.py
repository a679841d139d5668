"""Derives DecodingOptions from a request, the settings and the model."""

from collections.abc import Sequence
from typing import TypeVar

from asr_service.audio.vad import VadOptions
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.model.vocabulary import known_languages
from asr_service.engine.options import DecodingOptions, Task
from asr_service.engine.request_options import RequestOptions
from asr_service.errors import InvalidParameter
from asr_service.languages import (
    DETECT,
    LANGUAGES,
    ChineseScript,
    chosen_language,
    chosen_script,
    detects_each_window,
    language_codes,
)
from asr_service.settings import Settings

Value = TypeVar("Value")


def resolve_options(
    asked: RequestOptions,
    settings: Settings,
    model: SpeechModel,
    *,
    default_task: Task = "transcribe",
    time_words: bool = False,
    languages: Sequence[str] = (),
    script: ChineseScript | None = None,
) -> DecodingOptions:
    """Complete a request's options with the configured ones, and check the result against the model.

    `time_words` asks for word timestamps if the request does not set the option itself. `languages` has the codes that
    a detection chooses among; a request with candidates is not subject to the configured language. `script` is that of
    Chinese text, if the language names none.

    Raises InvalidParameter: the model does not know a language, or cannot do the task.
    """
    task = asked.task or default_task
    configured = None if languages else settings.language
    text = _either(asked.language, configured) or DETECT
    language, per_chunk = _resolve_language(text, task, model)
    _check_known(languages, model, param="languages")
    return DecodingOptions(
        task=task,
        language=language,
        languages=() if language else tuple(languages),
        script=chosen_script(text) or script,
        language_per_chunk=per_chunk,
        beam_size=_either(asked.beam_size, settings.beam_size),
        temperature=_either(asked.temperature, 0.0),
        initial_prompt=_either(asked.initial_prompt, settings.initial_prompt),
        hotwords=asked.hotwords,
        condition_on_previous_text=bool(asked.condition_on_previous_text),
        max_new_tokens=_either(asked.max_new_tokens, settings.max_new_tokens),
        timestamps=_either(asked.timestamps, settings.timestamps),
        word_timestamps=_either(asked.word_timestamps, settings.word_timestamps or time_words),
        audio_track=None if asked.audio_track is None else _track(asked.audio_track),
        vad_filter=_either(asked.vad_filter, settings.vad_filter),
        vad=VadOptions(
            threshold=_either(asked.vad_threshold, settings.vad_threshold),
            min_silence_duration_ms=_either(asked.min_silence_duration_ms, settings.min_silence_duration_ms),
            speech_pad_ms=_either(asked.speech_pad_ms, VadOptions().speech_pad_ms),
        ),
        peaks=bool(asked.peaks),
    )


def _either(asked: Value | None, configured: Value) -> Value:
    return configured if asked is None else asked


def _track(text: str) -> str:
    """Return a track's number, or its language as asked for and then the codes that files have for it."""
    wanted = text.strip().replace(",", " ")
    is_number = wanted.isascii() and wanted.isdecimal()
    return wanted if is_number else ",".join(dict.fromkeys((wanted, *language_codes(wanted))))


def _resolve_language(text: str, task: Task, model: SpeechModel) -> tuple[str | None, bool]:
    """Return the language's code, or None to detect it, and whether to detect it in each window."""
    facts = model.facts
    code = chosen_language(text)
    if not facts.multilingual:
        return _resolve_english(code, task, facts.name), False
    _check_known([code] if code else [], model, param="language")
    return code, detects_each_window(text)


def _check_known(codes: Sequence[str], model: SpeechModel, *, param: str) -> None:
    known = known_languages(model)
    for code in codes:
        if code not in known:
            raise InvalidParameter(f"Model {model.facts.name!r} does not know {LANGUAGES[code].title()}.", param=param)


def _resolve_english(code: str | None, task: Task, name: str) -> str:
    if task == "translate":
        raise InvalidParameter(f"Model {name!r} knows only English and cannot translate.", param="task")
    if code not in {None, "en"}:
        raise InvalidParameter(f"Model {name!r} knows only English. Leave out language={code}.", param="language")
    return "en"
