"""Reads `.env` in the working directory."""

import re
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from asr_service.errors import ConfigurationError

ENV_FILE: Final = ".env"


def read_env_file(prefix: str) -> dict[str, str]:
    """Return the variables of the file by name; none if there is no such file.

    Raises ConfigurationError: the file cannot be read, or a variable with the prefix has no value that can be read.
    """
    try:
        text = Path(ENV_FILE).read_text("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):  # a virtual environment may have this name
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"{ENV_FILE} in the working directory cannot be read: {reason}.", param=ENV_FILE
        ) from error
    _check(text, prefix)
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}


def _check(text: str, prefix: str) -> None:
    """Raise ConfigurationError where dotenv would ignore a variable with the prefix."""
    for binding in parse_stream(StringIO(text)):
        if not binding.error and (binding.key is None or binding.value is not None):
            continue
        if found := re.search(rf"\b{prefix}\w+", binding.original.string, re.IGNORECASE):
            raise ConfigurationError(
                f"{ENV_FILE} in the working directory, line {_line(binding)}: {found[0].upper()} has no value that can "
                "be read. Write NAME=VALUE, and close each quote.",
                param=ENV_FILE,
            )


def _line(binding: Binding) -> int:
    """Return the number of the line, after the empty lines that the parser counts to it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
