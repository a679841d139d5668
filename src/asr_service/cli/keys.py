"""`asr-service keys`: create API keys and the entries that the service stores for them."""

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
from asr_service.cli.numbers import number_option
from asr_service.errors import ConfigurationError

keys_app = typer.Typer(no_args_is_help=True)

_FILE_MODE: Final = 0o640

Name = Annotated[
    str, typer.Argument(help="Name of the key's owner. It appears in the log and in metrics.", show_default=False)
]
File = Annotated[Path | None, typer.Option(help="Append the entry to this file, such as the one in ASR_API_KEYS_FILE.")]
Requests = Annotated[
    int | None,
    number_option(int, "Maximum open requests. By default as configured.", least=1, most=MAX_CONCURRENT_REQUESTS),
]
Audio = Annotated[
    float | None,
    number_option(
        float,
        "Maximum seconds of audio per minute. By default as configured.",
        least=0.001,
        most=MAX_AUDIO_S_PER_MINUTE,
    ),
]
Worker = Annotated[bool, typer.Option("--worker", help="The key is for `asr-service worker`, which runs jobs of all.")]


@keys_app.command("new")
def new_command(
    name: Name,
    file: File = None,
    concurrent_requests: Requests = None,
    audio_s_per_minute: Audio = None,
    is_worker: Worker = False,
) -> None:
    r"""Create a key and print it with its entry. The key cannot be shown again.

    \b
    Examples:
      asr-service keys new alice
      asr-service keys new alice --file /etc/asr-service/keys --concurrent-requests 4
      asr-service keys new jobs --worker
    """
    secret = new_secret()
    stored = entry(name, secret, KeyLimits(concurrent_requests, audio_s_per_minute), is_worker=is_worker)
    if file is not None:
        _append(file, stored)
    typer.echo(f"key:   {secret}")
    typer.echo(f"entry: {stored}")
    _print_note(f"The key cannot be shown again. Give it to {name}.")
    _print_storage(file)


@keys_app.command("hash")
def hash_command(
    name: Name,
    file: File = None,
    concurrent_requests: Requests = None,
    audio_s_per_minute: Audio = None,
    is_worker: Worker = False,
) -> None:
    r"""Read an existing key from standard input and print its entry.

    \b
    Examples:
      asr-service keys hash alice < key.txt
    """
    if sys.stdin.isatty():
        _print_note("Type the key, then Enter:")
    limits = KeyLimits(concurrent_requests, audio_s_per_minute)
    stored = entry(name, sys.stdin.readline().strip(), limits, is_worker=is_worker)
    if file is not None:
        _append(file, stored)
    typer.echo(f"entry: {stored}")
    _print_storage(file)


def _append(file: Path, stored: str) -> None:
    try:
        before = file.read_text(encoding="utf-8-sig") if file.exists() else ""
        name = stored.partition(":")[0]
        if any(line.startswith(f"{name}:") for line in before.splitlines()):
            raise ConfigurationError(
                f"{file} already has a key named {name!r}. Choose another name, or remove its line."
            )
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        with os.fdopen(descriptor, "a", encoding="utf-8") as out:
            out.write(("" if before.endswith("\n") or not before else "\n") + stored + "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{file} cannot be written: {reason}.") from error


def _print_storage(file: Path | None) -> None:
    if file is None:
        _print_note("Store the entry in ASR_API_KEYS, or as a line of the file in ASR_API_KEYS_FILE.")
    else:
        _print_note(f"The entry was added to {file}. Send SIGHUP to a running service to load it.")


def _print_note(text: str) -> None:
    """Print to standard error: standard output is for programs."""
    typer.echo(text, err=True)
