"""`asr-service`: which commands there are. Only the one that is called is imported, so that `--help` is quick."""

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
  asr-service serve                    on http://127.0.0.1:8000
  asr-service transcribe talk.mp3      without a service; or with one: --server URL
  ASR_MODEL=small asr-service serve    with another model
  asr-service doctor                   what is wrong here, and its cure
  asr-service models fetch large-v3    before the first start, or for a machine without a network

Every setting is an ASR_* variable: `asr-service settings` lists them.
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A command: a function, or a Typer of several."""

    summary: str
    module: str
    attribute: str


_COMPLETING: Final = "_ASR_SERVICE_COMPLETE"
_INTERRUPTED: Final = 130

_COMMANDS: Final = {
    "serve": _Entry("Serve over HTTP until Ctrl-C or SIGTERM.", "asr_service.cli.serve", "serve_command"),
    "transcribe": _Entry(
        "Turn recordings into text, here or by a service.", "asr_service.cli.transcribe.command", "transcribe_command"
    ),
    "models": _Entry("List, fetch and verify models.", "asr_service.cli.models", "models_app"),
    "keys": _Entry("Make the API keys that callers show.", "asr_service.cli.keys", "keys_app"),
    "doctor": _Entry("Look for what is wrong, and name its cure.", "asr_service.cli.doctor.command", "doctor_command"),
    "tune": _Entry("Measure threads and batches on this device, and choose.", "asr_service.cli.tune", "tune_command"),
    "health": _Entry("Ask the running service whether it is ready.", "asr_service.cli.health", "health_command"),
    "render": _Entry(
        "Write Nginx' configuration and the like from the settings.", "asr_service.cli.render", "render_app"
    ),
    "settings": _Entry("Print every setting and its value.", "asr_service.cli.settings", "settings_command"),
    "openapi": _Entry("Print the API's OpenAPI document.", "asr_service.cli.openapi", "openapi_command"),
}


def main() -> None:
    """Run the command line. A service that cannot start ends with its error's own exit code: 69, 78 or 1."""
    _open_closed_streams()
    try:
        build(completed_words(os.environ) if _COMPLETING in os.environ else sys.argv[1:])()
    except StartupError as error:
        typer.echo(f"asr-service: {error.message}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # while a command's parts are imported; from then on the command line heeds it itself
        sys.exit(_INTERRUPTED)


def _open_closed_streams() -> None:
    """Have all three standard streams, where whoever started us closed some (`>&-`): Python has None for those."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for the process' life


def command_names() -> tuple[str, ...]:
    return tuple(_COMMANDS)


def build(arguments: Sequence[str]) -> typer.Typer:
    """Make the command line for these arguments: the command that they name is whole, the others are a line of help."""
    app = typer.Typer(
        name="asr-service", help=_HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback()(_root)
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, entry in _COMMANDS.items():
        if name == named:
            _add(app, name, entry)
        else:
            app.command(name, help=entry.summary)(_not_called)
    return app


def _add(app: typer.Typer, name: str, entry: _Entry) -> None:
    command = getattr(importlib.import_module(entry.module), entry.attribute)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name, help=entry.summary)
        for each in command.registered_commands:
            _keep_lines(each.callback)
    else:
        app.command(name)(command)
        _keep_lines(command)


def _keep_lines(command: Callable[..., object] | None) -> None:
    """Make of the two letters in a raw docstring the mark that keeps a paragraph's lines as they are."""
    if command is not None and command.__doc__:
        command.__doc__ = command.__doc__.replace(r"\b", "\b")


def completed_words(environ: Mapping[str, str]) -> list[str]:
    """Give what stands on the line that a shell wants completed, as bash tells it and as zsh and fish do."""
    line = environ.get("COMP_WORDS") or environ.get("_TYPER_COMPLETE_ARGS") or ""
    return line.split()[1:]


def _not_called() -> None:
    """Stand in the help for a command that was not asked for."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asr-service {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""
