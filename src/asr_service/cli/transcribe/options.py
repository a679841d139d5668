"""The options of `asr-service transcribe` as form fields and as a subtitle style."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import typer

from asr_service.cli.transcribe.backend import Backend, Service
from asr_service.cli.transcribe.types import Fields
from asr_service.errors import InvalidParameter
from asr_service.formats import SubtitleStyle


def form_fields(**options: object) -> Fields:
    """Turn the options into form fields, and check them as the service does."""
    fields = {name: _form_value(value) for name, value in options.items() if value is not None}
    _check(fields)
    return fields


def subtitle_style(max_line_width: int | None, max_line_count: int | None, *, highlight_words: bool) -> SubtitleStyle:
    layout = {"max_line_width": max_line_width, "max_line_count": max_line_count}
    _check({name: value for name, value in layout.items() if value is not None})
    default = SubtitleStyle()
    return replace(
        default,
        max_line_width=max_line_width or default.max_line_width,
        max_line_count=max_line_count or default.max_line_count,
        highlight_words=highlight_words,
    )


def _check(fields: Mapping[str, object]) -> None:
    from asr_service.api.native.schemas import TranscribeParameters  # noqa: PLC0415 - slow to import
    from asr_service.validation import check_fields  # noqa: PLC0415 - slow to import

    try:
        check_fields(TranscribeParameters, fields)
    except InvalidParameter as error:
        raise typer.BadParameter(error.message) from None


def text_options(fields: Fields, backend: Backend) -> dict[str, Any]:
    """Return the options that change the text, by name. An output is made again if one of them is another.

    The model and the settings of a service are not known here. Values that are the default are left out. So is
    `word_timestamps`: another format may need the times of words, and the text stays valid.
    """
    from asr_service.engine.request_options import RequestOptions  # noqa: PLC0415 - slow to import
    from asr_service.validation import check_fields  # noqa: PLC0415 - slow to import

    asked = check_fields(RequestOptions, fields).model_dump(exclude_none=True)
    options = {"task": "transcribe"} | asked
    if not isinstance(backend, Service):
        configured = backend.model_dump(include={"model", *RequestOptions.model_fields}, exclude_none=True)
        fields_of = type(backend).model_fields
        merged = configured | options
        options = {
            name: value
            for name, value in merged.items()
            if name == "model" or name not in fields_of or value != fields_of[name].default
        }
    options.pop("word_timestamps", None)
    return options


def _form_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
