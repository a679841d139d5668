"""The options of `asr-service transcribe` as form fields and as a subtitle style."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import typer

from asr_service.cli.backend import Backend, Service
from asr_service.cli.transcribe.types import FormFields
from asr_service.errors import InvalidParameter
from asr_service.formats import SubtitleStyle

if TYPE_CHECKING:
    from asr_service.api.native.schemas import TranscribeParameters

_OPTIONS: Final = {"initial_prompt": "--prompt"}
"""The options of the command whose names are not those of their fields."""


def form_fields(**options: object) -> FormFields:
    """Turn the options into form fields, and check them as the service does."""
    fields = {name: _form_value(value) for name, value in options.items() if value is not None}
    _check(fields)
    return fields


def subtitle_style(*, highlight_words: bool, **layout: str | None) -> SubtitleStyle:
    """Return the style with the widths and counts of `layout`, which are checked as the service does."""
    given = {name: value for name, value in layout.items() if value is not None}
    checked = _check(given)
    return SubtitleStyle(highlight_words=highlight_words, **{name: getattr(checked, name) for name in given})


def _check(fields: Mapping[str, object]) -> "TranscribeParameters":
    """Return the fields as the service reads them. An error names the option of the command."""
    from asr_service.api.native.schemas import TranscribeParameters  # noqa: PLC0415 - slow to import
    from asr_service.validation import check_fields  # noqa: PLC0415 - slow to import

    try:
        return check_fields(TranscribeParameters, fields)
    except InvalidParameter as error:
        option = _OPTIONS.get(field := str(error.param), f"--{field.replace('_', '-')}")
        raise typer.BadParameter(re.sub(f"^{field}=", f"{option}=", error.message)) from None


def text_options(fields: FormFields, backend: Backend) -> dict[str, Any]:
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
