"""`asr-service settings`, and the two files that are made from it: docs/settings.md and .env.example."""

import inspect
import os
import re
import textwrap
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer
from dotenv import dotenv_values

from asr_service.settings import PREFIX, Settings, load_settings

_BOUNDS: Final = {"minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}"}
_KINDS: Final = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text"}

_MARKDOWN_HEAD: Final = """# Settings

Every setting is an environment variable, and may stand in a `.env` file in the working directory; the environment wins.
A variable that begins with `ASR_` and is none of these is refused at start. `asr-service settings` prints what is set.

This file is made by `asr-service settings --markdown`.
"""
_TABLE_HEAD: Final = ("| setting | default | value | meaning |", "|---|---|---|---|")
_ENV_HEAD: Final = """# Copy to .env and take away the # of what you set. The environment wins over this file.
# Made by `asr-service settings --env`; docs/settings.md says the same with the bounds of each value.
"""


@dataclass(frozen=True, slots=True)
class _Setting:
    field: str
    section: str
    default: str
    kind: str
    meaning: str

    @property
    def name(self) -> str:
        return PREFIX + self.field.upper()


def settings_command(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
    env: Annotated[bool, typer.Option("--env", help="Print .env.example.")] = False,
) -> None:
    r"""Print every setting: its value, where that comes from, and what it means.

    \b
    Examples:
      asr-service settings
      asr-service settings --env >> .env
    """
    if markdown:
        typer.echo(settings_markdown(), nl=False)
    elif env:
        typer.echo(settings_env(), nl=False)
    else:
        typer.echo(_current(load_settings()), nl=False)


def settings_markdown() -> str:
    """Give docs/settings.md."""
    lines = [_MARKDOWN_HEAD]
    for section, settings in _by_section().items():
        lines += [f"## {section[0].upper()}{section[1:]}\n", *_TABLE_HEAD]
        lines += [f"| `{s.name}` | {_code(s.default)} | {s.kind} | {s.meaning} |" for s in settings]
        lines.append("")
    return "\n".join(lines)


def settings_env() -> str:
    """Give .env.example, with every setting commented out."""
    lines = [_ENV_HEAD]
    for section, settings in _by_section().items():
        lines.append(f"# ---- {section}\n")
        for setting in settings:
            lines += [f"# {line}" for line in _wrapped(setting.meaning, 116)]
            lines.append(f"# {setting.name}={setting.default}\n")
    return "\n".join(lines)


def _current(settings: Settings) -> str:
    in_file = dotenv_values(".env")
    lines: list[str] = []
    for section, group in _by_section().items():
        lines.append(f"-- {section}")
        for setting in group:
            value = _text(getattr(settings, setting.field))
            lines.append(f"{setting.name}={value}  ({_source(setting.name, in_file)})")
            lines += [f"    {line}" for line in _wrapped(setting.meaning, 110)]
        lines.append("")
    return "\n".join(lines)


def _source(name: str, in_file: dict[str, str | None]) -> str:
    for place, values in (("environment", os.environ), (".env", in_file)):
        if any(key.upper() == name and value for key, value in values.items()):
            return place
    return "default"


def _by_section() -> dict[str, list[_Setting]]:
    """Gather the settings under the headings that settings.py has for them."""
    properties = Settings.model_json_schema()["properties"]
    sections: dict[str, list[_Setting]] = {}
    section = ""
    for heading, field in re.findall(r"^    (?:# -- (.+)|(\w+): )", inspect.getsource(Settings), re.MULTILINE):
        section = heading or section
        if field in properties:
            sections.setdefault(section, []).append(_setting(field, section, properties[field]))
    return sections


def _setting(field: str, section: str, schema: dict[str, Any]) -> _Setting:
    meaning = " ".join(schema["description"].split())
    return _Setting(field, section, _text(Settings.model_fields[field].default), _kind(schema), meaning)


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return _kind(next(each for each in schema["anyOf"] if each.get("type") != "null"))
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format") == "path":
        return "path"
    bounds = [words.format(f"{schema[bound]:g}") for bound, words in _BOUNDS.items() if bound in schema]
    return ", ".join([_KINDS[schema["type"]], *bounds])


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _code(text: str) -> str:
    return f"`{text}`" if text else "not set"


def _wrapped(text: str, width: int) -> list[str]:

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
