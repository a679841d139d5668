"""Check values against a pydantic model, and describe the first error in this service's own words.

pydantic's sentences never reach a user. The description is built from the JSON schema of the field, so it always states
the type and the bounds that the field has.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticKnownError

from asr_service.errors import InvalidParameter, MalformedRequest, RequestError
from asr_service.plain_number import is_plain_number

Form = TypeVar("Form", bound=BaseModel)
Schema = Mapping[str, Any]

_MAX_CHARACTERS: Final = 64
"""Longest part of a user's value or name that a message repeats."""
_PLAIN: Final = re.compile(r"[\w.+-]+", re.ASCII)
"""Values that need no quotation marks."""
_NAMES: Final = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a JSON object",
    "string": "text",
}
"""JSON schema's types in plain words."""


class TextFields(BaseModel):
    """The base of forms, queries and settings, whose values are text."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _require_plain_number(cls, value: object, handler: ValidatorFunctionWrapHandler) -> object:
        checked = handler(value)
        is_number = isinstance(checked, int | float) and not isinstance(checked, bool)
        if is_number and isinstance(value, str) and not is_plain_number(value):
            raise PydanticKnownError("float_parsing")
        return checked


class JsonFields(BaseModel):
    """The base of JSON bodies. A text is no number, and neither is true.

    JSON has one type of number, so 300.0 is a whole number: some clients write whole numbers so.
    """

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _accept_whole_floats(cls, values: object) -> object:
        return (
            {name: _without_fraction(value) for name, value in values.items()} if isinstance(values, dict) else values
        )


def check_fields(form: type[Form], values: Mapping[str, object]) -> Form:
    """Validate the fields of a request.

    Raises MalformedRequest: a required field is missing.
    Raises InvalidParameter: a field is unknown, or its value is not valid; `param` names the first such field.
    """
    try:
        return form.model_validate(values)
    except ValidationError as error:
        raise _refusal(form, error) from error


def describe_error(form: type[BaseModel], error: ValidationError) -> str:
    """Describe the first error in one sentence: the field, its value, and what is expected of it."""
    return _describe(form, error.errors()[0])


def describe_errors(form: type[BaseModel], error: ValidationError, prefix: str) -> dict[str, str]:
    """Describe the first error of each field, by the name that users know: the upper-case field after `prefix`."""
    found: dict[str, str] = {}
    for each in error.errors():
        name = prefix + str(each["loc"][0]).upper()
        found.setdefault(name, _describe(form, each, name))
    return found


def _describe(form: type[BaseModel], error: ErrorDetails, name: str | None = None) -> str:
    path, branches = _find(_schema_of(form), error["loc"])
    field = ".".join([name or path[0], *path[1:]]) if path else ""
    match error["type"]:
        case "missing":
            return f"Field {field!r} is required."
        case "extra_forbidden":
            known = [each for branch in branches for each in branch.get("properties", {})]
            return _unknown([*path, str(error["loc"][-1])[:_MAX_CHARACTERS]], known)
        case "value_error":
            reason = str(error["ctx"]["error"])
        case _:
            finite = error["type"] == "finite_number"
            expected = dict.fromkeys(_expected(branch, finite=finite) for branch in branches)
            reason = f"expected {' or '.join(expected)}"
    if any(branch.get("format") == "password" for branch in branches):
        return f"{field} is not valid: {reason}."
    is_text = error["type"] in {"int_type", "float_type"} and isinstance(error["input"], str)
    shown = _shown(error["input"], in_quotes=is_text)
    return f"{field}={shown} is not valid: {reason}."


def _refusal(form: type[BaseModel], error: ValidationError) -> RequestError:
    first = error.errors()[0]
    is_missing = first["type"] == "missing" and len(first["loc"]) == 1
    kind = MalformedRequest if is_missing else InvalidParameter
    return kind(describe_error(form, error), param=str(first["loc"][0])[:_MAX_CHARACTERS])


def _unknown(path: list[str], known: list[str]) -> str:
    near = difflib.get_close_matches(path[-1], known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Known fields: {', '.join(known)}."
    return f"Unknown field {'.'.join(path)!r}. {hint}"


@cache
def _schema_of(form: type[BaseModel]) -> Schema:
    return form.model_json_schema()


def _find(root: Schema, location: tuple[int | str, ...]) -> tuple[list[str], list[Schema]]:
    """Return the names of the known fields on the way to a value, and the alternatives that the last of them has."""
    path: list[str] = []
    position = ""
    branches = list(_branches(root, root))
    for part in location:
        if isinstance(part, int):
            position = f"[{part}]"
            branches = [each for branch in branches if "items" in branch for each in _branches(branch["items"], root)]
            continue
        values = [branch["properties"][part] for branch in branches if part in branch.get("properties", {})]
        if values:  # else it is an unknown field, or the tag by which pydantic chose one branch of a union
            path = [*path[:-1], path[-1] + position, part] if path else [part]
            position = ""
            branches = [each for value in values for each in _branches(value, root)]
    return path, branches


def _branches(schema: Schema, root: Schema) -> Iterator[Schema]:
    """Yield the alternatives of a schema, except `null`, which stands for a missing field."""
    if "$ref" in schema:
        yield from _branches(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
        for alternative in alternatives:
            yield from _branches(alternative, root)
    elif schema.get("type") != "null":
        yield schema


def _expected(schema: Schema, *, finite: bool) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema["type"]
    name = "a finite number" if finite and kind == "number" else _NAMES[kind]
    return name + _range(schema) + _size(schema, "Items", "item") + _size(schema, "Length", "character")


def _range(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "greater than",
        "maximum": "of at most",
        "exclusiveMaximum": "less than",
    }
    bounds = [f"{text} {schema[key]}" for key, text in words.items() if key in schema]
    return " " + " and ".join(bounds) if bounds else ""


def _size(schema: Schema, of: str, unit: str) -> str:
    at_least, at_most = schema.get(f"min{of}"), schema.get(f"max{of}")
    if at_least is None and at_most is None:
        return ""
    if at_most is None:
        return f" of at least {at_least} {unit}{'s' * (at_least != 1)}"
    bounds = f"at most {at_most}" if at_least is None else f"{at_least} to {at_most}"
    return f" of {bounds} {unit}{'s' * (at_most != 1)}"


def _without_fraction(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(value: object, *, in_quotes: bool = False) -> str:
    """Return a value as a message shows it: short, and without anything that acts on a terminal."""
    text = ", ".join(map(str, value)) if isinstance(value, list) and value else str(value)
    cut = text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "..."
    is_plain = _PLAIN.fullmatch(text) and cut == text and not in_quotes
    return cut if is_plain else repr(cut)
