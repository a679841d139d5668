"""The options and arguments that several commands have, and their checks."""

import stat
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from asr_service.cli.terminal import os_reason

API_KEY_VARIABLE: Final = "ASRSERVICE_API_KEY"
"""Not ASR_*: the service refuses an ASR_ variable that is not one of its settings."""

LanguageOption = Annotated[
    str | None,
    typer.Option("--language", "-l", help="Language of the speech: a code such as en or zh-TW, or a name."),
]
PromptOption = Annotated[str | None, typer.Option(help="Text that shows the spelling and style to use.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Model name or folder. Overrides ASR_MODEL.")]
DeviceOption = Annotated[
    str | None, typer.Option(help="Device such as cpu or cuda:0. By default the first of ASR_DEVICES.")
]
ServerOption = Annotated[
    str | None, typer.Option(help="Address of a running service to use, such as http://127.0.0.1:8000.")
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        envvar=API_KEY_VARIABLE, help="API key of the service. The variable keeps it out of the process list."
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(help="Certificate, in PEM format, of a private authority that signed the certificate of the service."),
]


def check_server(server: str) -> None:
    """Refuse what is no address of a service."""
    try:
        address = urlsplit(server)
        usable = (
            server.isprintable()
            and address.scheme in {"http", "https"}
            and bool(address.hostname)
            and address.port != 0
        )
    except ValueError:
        usable = False
    if not usable:
        raise typer.BadParameter(f"--server {server!r} is not an address. Write it like http://127.0.0.1:8000.")


def check_key(api_key: str | None) -> None:
    """Refuse a key that cannot be sent in a header. The message does not repeat it."""
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise typer.BadParameter(
            f"The API key (--api-key or {API_KEY_VARIABLE}) contains a line end or another character that no key has."
        )


def check_recording(path: Path) -> None:
    """Refuse what is no file or cannot be read."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            path.open("rb").close()
            return
    except FileNotFoundError:
        hint = " Only `asr-service transcribe` reads standard input." if str(path) == "-" else ""
        raise typer.BadParameter(f"There is no file {str(path)!r}.{hint}") from None
    except OSError as error:
        raise typer.BadParameter(f"{str(path)!r} cannot be read: {os_reason(error).rstrip('.')}.") from error
    raise typer.BadParameter(f"{str(path)!r} is a folder, a pipe or a device, and no file. Save its sound as a file.")
