"""Writes the settings of `asr-service tune` to a file of settings, such as .env."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from asr_service.cli.tune.values import NAMES
from asr_service.errors import ConfigurationError

_MARK: Final = "# tune: "


def check_file(path: Path) -> None:
    """Check that the file can be read and written. Fail before minutes of measuring and not after them."""
    place = path if path.exists() else path.absolute().parent
    if path.is_dir() or not os.access(place, os.W_OK):
        raise ConfigurationError(f"{path} cannot be written. Check that its folder exists and is writable.")
    try:
        _lines(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{path} cannot be read: {reason}.") from error


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def write_values(path: Path, values: Mapping[str, int], comments: Sequence[str]) -> None:
    """Replace the lines of an earlier run and all other lines that set one of the three values. Other lines stay.

    Raises ConfigurationError: the file was not written completely.
    """
    kept = [line for line in _lines(path) if not line.startswith(_MARK) and _assigned(line) not in NAMES]
    date = datetime.now(UTC).date().isoformat()
    made = [f"{_MARK}{date}, {comments[0]}", *(f"{_MARK}{comment}" for comment in comments[1:])]
    made += [f"{name}={value}" for name, value in values.items()]
    # Written in place, so that the file keeps its owner and mode: it may hold keys.
    try:
        path.write_text("\n".join([*kept, *made]) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} was not written completely: {error.strerror}. Check its content.") from error


def _assigned(line: str) -> str:
    """Return the name of the variable that a line sets, or an empty string."""
    return line.strip().removeprefix("export ").partition("=")[0].strip().upper()
