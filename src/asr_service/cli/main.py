"""The commands of `asr-service`. Only the command that is called is imported, so `--help` is fast."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from asr_service import __version__
from asr_service.errors import StartupError

_HELP: Final = """Speech to text over HTTP: Whisper on CTranslate2, on a GPU or a laptop.

\b
Examples:
  asr-service serve                    serve on http://127.0.0.1:8000
  asr-service transcribe talk.mp3      transcribe without a service
  ASR_MODEL=small asr-service serve    use another model
  asr-service doctor                   find problems on this machine
  asr-service models fetch large-v3    download a model before the first start

Settings are ASR_* environment variables. `asr-service settings` lists them.
"""
_COMPLETING: Final = "_ASR_SERVICE_COMPLETE"
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class _Command:
    """Where a command is defined: a function, or a Typer with subcommands."""

    summary: str
    module: str
    attribute: str


_COMMANDS: Final = {
    "serve": _Command("Serve over HTTP until Ctrl-C or SIGTERM.", "asr_service.cli.serve", "serve_command"),
    "transcribe": _Command(
        "Transcribe recordings, on this machine or with a service.",
        "asr_service.cli.transcribe.command",
        "transcribe_command",
    ),
    "listen": _Command(
        "Transcribe speech while it is spoken, on this machine or with a service.",
        "asr_service.cli.listen.command",
        "listen_command",
    ),
    "jobs": _Command("Submit recordings to a service as jobs.", "asr_service.cli.jobs", "jobs_app"),
    "worker": _Command("Run jobs with the services, without a model.", "asr_service.cli.worker", "worker_command"),
    "models": _Command("List, download and verify models.", "asr_service.cli.models", "models_app"),
    "keys": _Command("Create API keys.", "asr_service.cli.keys", "keys_app"),
    "webhooks": _Command("Make a secret for webhooks, and try a receiver.", "asr_service.cli.webhooks", "webhooks_app"),
    "doctor": _Command(
        "Check this machine and its settings, and suggest fixes.", "asr_service.cli.doctor.command", "doctor_command"
    ),
    "tune": _Command(
        "Measure which threads and batch sizes are fastest here.", "asr_service.cli.tune.command", "tune_command"
    ),
    "health": _Command("Check whether the running service is ready.", "asr_service.cli.health", "health_command"),
    "render": _Command("Write configuration for Nginx and systemd.", "asr_service.cli.render", "render_app"),
    "settings": _Command("Print all settings and their values.", "asr_service.cli.settings", "settings_command"),
    "openapi": _Command("Print the API's OpenAPI document.", "asr_service.cli.openapi", "openapi_command"),
}


def main() -> None:
    """Run the command line. A StartupError ends the process with its exit code, such as 69 or 78."""
    _open_closed_streams()
    try:
        build(words_to_complete(os.environ) if _COMPLETING in os.environ else sys.argv[1:])()
    except StartupError as error:
        typer.echo(f"asr-service: {error.message}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # during the imports; later, typer handles it
        sys.exit(_INTERRUPTED)


def _open_closed_streams() -> None:
    """Replace standard streams that were closed at start (`>&-`), for which Python has None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - open until the process ends


def command_names() -> tuple[str, ...]:
    return tuple(_COMMANDS)


def build(arguments: Sequence[str]) -> typer.Typer:
    """Build the command line for these arguments. Commands that they do not name are only a line of help."""
    app = typer.Typer(
        name="asr-service",
        help=_HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, entry in _COMMANDS.items():
        if name == named:
            _add(app, name, entry)
        else:
            app.command(name, help=entry.summary)(_placeholder)
    return app


def _add(app: typer.Typer, name: str, entry: _Command) -> None:
    command = getattr(importlib.import_module(entry.module), entry.attribute)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name, help=entry.summary)
        for each in command.registered_commands:
            _restore_escapes(each.callback)
    else:
        app.command(name)(command)
        _restore_escapes(command)


def _restore_escapes(command: Callable[..., object] | None) -> None:
    r"""Replace the two letters `\b` of a raw docstring with the character that keeps a paragraph's lines unwrapped."""
    if command is not None and command.__doc__:
        command.__doc__ = command.__doc__.replace(r"\b", "\b")


def words_to_complete(environ: Mapping[str, str]) -> list[str]:
    """Return the arguments on the line that bash, zsh or fish wants completed."""
    line = environ.get("COMP_WORDS") or environ.get("_TYPER_COMPLETE_ARGS") or ""
    return line.split()[1:]


def _placeholder() -> None:
    """Represent a command that was not called in the help."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asr-service {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Handle the options before a command."""
