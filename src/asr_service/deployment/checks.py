"""Checks of options, whose text goes into the files of other programs."""

import re
from typing import Final

from asr_service.errors import ConfigurationError

_PATH: Final = re.compile(r"/[\w./@+-]+")


def require(form: re.Pattern[str], value: str, option: str, what: str) -> None:
    """Raise ConfigurationError if the value has another form: `option` is not `what`."""
    if not form.fullmatch(value):
        raise ConfigurationError(f"{option}={value!r} is not {what}.", param=option)


def require_path(value: object, option: str) -> None:
    """Raise ConfigurationError if the value is no path that every program reads as one word."""
    require(_PATH, str(value), option, "an absolute path without spaces")
