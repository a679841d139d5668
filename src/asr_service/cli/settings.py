"""`asr-service settings`: print the current settings. `settings_by_section` also serves the generated documents."""

import inspect
import os
import re
import textwrap
from dataclasses import dataclass
from typing import Final

import typer

from asr_service.env_file import read_env_file
from asr_service.settings import PREFIX, Settings, load_settings

_WIDTH: Final = 110


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of Settings as users see it."""

    field: str
    default: str
    """As the environment variable would have it; empty if there is none."""
    meaning: str

    @property
    def name(self) -> str:
        return PREFIX + self.field.upper()


def settings_command() -> None:
    r"""Print every setting with its value, the source of the value, and its meaning.

    \b
    Example:
      asr-service settings
    """
    typer.echo(_current(load_settings()), nl=False)


def settings_by_section() -> dict[str, list[Setting]]:
    """Group the settings under the headings of settings.py, in its order."""
    properties = Settings.model_json_schema()["properties"]
    sections: dict[str, list[Setting]] = {}
    section = ""
    for heading, field in re.findall(r"^    (?:# -- (.+)|(\w+): )", inspect.getsource(Settings), re.MULTILINE):
        section = heading or section
        if field in properties:
            default = _text(Settings.model_fields[field].default)
            meaning = " ".join(properties[field]["description"].split())
            sections.setdefault(section, []).append(Setting(field, default, meaning))
    return sections


def _current(settings: Settings) -> str:
    in_file = read_env_file(PREFIX)
    lines: list[str] = []
    for section, group in settings_by_section().items():
        lines.append(f"-- {section}")
        for setting in group:
            value = _text(getattr(settings, setting.field))
            lines.append(f"{setting.name}={value}  ({_source(setting.name, in_file)})")
            wrapped = textwrap.wrap(setting.meaning, _WIDTH, break_long_words=False, break_on_hyphens=False)
            lines += [f"    {line}" for line in wrapped]
        lines.append("")
    return "\n".join(lines)


def _source(name: str, in_file: dict[str, str]) -> str:
    for place, values in (("environment", os.environ), (".env", in_file)):
        if any(key.upper() == name and value for key, value in values.items()):
            return place
    return "default"


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
