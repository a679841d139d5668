"""Render docs/settings.md and .env.example from the fields of Settings."""

import textwrap
from typing import Any, Final

from asr_service.cli.settings import Setting, settings_by_section
from asr_service.settings import Settings

_BOUNDS: Final = {"minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}"}
_TYPES: Final = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text"}

_MARKDOWN_HEAD: Final = """# Settings

Each setting is an environment variable. It can also be a line of a `.env` file in the working directory. The
environment takes precedence. The service does not start if a variable that begins with `ASR_` is not in these tables.
`asr-service settings` prints the current values.

`make docs` writes this file from `settings.py`.
"""
_TABLE_HEAD: Final = ("| setting | default | value | meaning |", "|---|---|---|---|")
_ENV_HEAD: Final = """# Copy this file to .env and uncomment what you change. The environment takes precedence.
# docs/settings.md lists the same settings with the values that each accepts. `make docs` writes both files.
"""
_ENV_WIDTH: Final = 116


def settings_markdown() -> str:
    """Return the text of docs/settings.md."""
    properties = Settings.model_json_schema()["properties"]
    lines = [_MARKDOWN_HEAD]
    for section, settings in settings_by_section().items():
        lines += [f"## {section[0].upper()}{section[1:]}\n", *_TABLE_HEAD]
        lines += [_row(setting, properties[setting.field]) for setting in settings]
        lines.append("")
    return "\n".join(lines)


def settings_env() -> str:
    """Return the text of .env.example. Every setting is commented out."""
    lines = [_ENV_HEAD]
    for section, settings in settings_by_section().items():
        lines.append(f"# ---- {section}\n")
        for setting in settings:
            wrapped = textwrap.wrap(setting.meaning, _ENV_WIDTH, break_long_words=False, break_on_hyphens=False)
            lines += [f"# {line}" for line in wrapped]
            lines.append(f"# {setting.name}={setting.default}\n")
    return "\n".join(lines)


def _row(setting: Setting, schema: dict[str, Any]) -> str:
    default = f"`{setting.default}`" if setting.default else "not set"
    return f"| `{setting.name}` | {default} | {_values(schema)} | {setting.meaning} |"


def _values(schema: dict[str, Any]) -> str:
    """Describe the type of a value and its bounds."""
    if "anyOf" in schema:
        return _values(next(each for each in schema["anyOf"] if each.get("type") != "null"))
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format") == "path":
        return "path"
    bounds = [words.format(f"{schema[bound]:g}") for bound, words in _BOUNDS.items() if bound in schema]
    return ", ".join([_TYPES[schema["type"]], *bounds])
