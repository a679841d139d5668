"""Render the templates of this package and write the results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jinja2

from asr_service.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file to be written: its relative path and its whole text."""

    name: str
    text: str


_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("asr_service.deployment"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  # not HTML; the callers check values that come from users
)


def fill(template: str, **values: object) -> str:
    """Render templates/`template`. A missing value is an error."""
    return _TEMPLATES.get_template(template).render(values)


def write_files(files: Sequence[RenderedFile], directory: Path) -> tuple[Path, ...]:
    """Write the files below `directory`, which is created if it is missing, and return their paths.

    Raises ConfigurationError: when a file cannot be written.
    """
    return tuple(_write(file, directory / file.name) for file in files)


def _write(file: RenderedFile, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.", param="--output") from error
    return path
