"""`asr-service keys`: make the keys that callers show."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from asr_service.access.keys import (
    MAX_AUDIO_S_PER_MINUTE,
    MAX_CONCURRENT_REQUESTS,
    KeyLimits,
    entry,
    new_secret,
)
from asr_service.errors import ConfigurationError

keys_app = typer.Typer(no_args_is_help=True)

_FILE_MODE: Final = 0o640

Name = Annotated[str, typer.Argument(help="Whose key it is: it stands in the log and in metrics.", show_default=False)]
File = Annotated[Path | None, typer.Option(help="Add the entry to this file, such as ASR_API_KEYS_FILE names.")]
Requests = Annotated[
    int | None,
    typer.Option(min=1, max=MAX_CONCURRENT_REQUESTS, help="Most requests open at a time; else as configured."),
]
Audio = Annotated[
    float | None,
    typer.Option(min=0.001, max=MAX_AUDIO_S_PER_MINUTE, help="Most seconds of audio a minute; else as configured."),
]


@keys_app.command("new")
def new_command(
    name: Name, file: File = None, concurrent_requests: Requests = None, audio_s_per_minute: Audio = None
) -> None:
    r"""Make a key and print it, this once, with the entry to store.

    \b
    Examples:
      asr-service keys new alice
      asr-service keys new alice --file /etc/asr-service/keys --concurrent-requests 4
    """
    secret = new_secret()
    stored = entry(name, secret, KeyLimits(concurrent_requests, audio_s_per_minute))
    if file is not None:
        _append(file, stored)
    typer.echo(f"key:   {secret}")
    typer.echo(f"entry: {stored}")
    _say(f"The key is shown this once: give it to {name}.")
    _say_where(file)


@keys_app.command("hash")
def hash_command(
    name: Name, file: File = None, concurrent_requests: Requests = None, audio_s_per_minute: Audio = None
) -> None:
    r"""Print the entry of a key that exists already, read from standard input.

    \b
    Examples:
      asr-service keys hash alice < key.txt
    """
    if sys.stdin.isatty():
        _say("Type the key, then Enter:")
    stored = entry(name, sys.stdin.readline().strip(), KeyLimits(concurrent_requests, audio_s_per_minute))
    if file is not None:
        _append(file, stored)
    typer.echo(f"entry: {stored}")
    _say_where(file)


def _append(file: Path, stored: str) -> None:
    try:
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        if any(line.startswith(stored.split(":", maxsplit=1)[0] + ":") for line in before.splitlines()):
            raise ConfigurationError(f"{file} has a key of that name already")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        with os.fdopen(descriptor, "a", encoding="utf-8") as out:
            out.write(("" if before.endswith("\n") or not before else "\n") + stored + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be written: {error}") from error


def _say_where(file: Path | None) -> None:
    if file is None:
        _say("Store the entry in ASR_API_KEYS, or as a line of the file that ASR_API_KEYS_FILE names.")
    else:
        _say(f"The entry stands in {file}. SIGHUP has a running service read it again.")


def _say(text: str) -> None:
    """What is for people goes where a program does not read."""
    typer.echo(text, err=True)
