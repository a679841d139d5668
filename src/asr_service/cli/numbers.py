"""Options of commands whose values are numbers."""

from typing import Any

import typer

from asr_service.plain_number import is_plain_number


def number_option(
    kind: type[int | float], meaning: str, *names: str, least: float | None = None, most: float | None = None
) -> Any:
    """Return a Typer option for a number from `least` to `most`. `meaning` is its help text.

    Typer alone would also take what only Python reads as a number, such as `1_0`.
    """

    def parse(given: object) -> int | float:
        text = str(given)  # a default is a number
        try:
            number = kind(text)
        except ValueError:
            number = None
        is_outside = number is None or (least is not None and number < least) or (most is not None and number > most)
        if number is None or is_outside or not is_plain_number(text):
            raise typer.BadParameter(f"{text!r} is not {expected}.")
        return number

    expected = ("a whole number" if kind is int else "a number") + _range(least, most)
    return typer.Option(*names, min=least, max=most, parser=parse, help=meaning)


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    return "" if least is None else f" of at least {least}"
