"""Render docs/cli.md from the help texts of the commands."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from asr_service.cli.main import build, command_names

if TYPE_CHECKING:
    from typer._click.core import Command  # typer has no public name for the type that `get_command` returns

_HEAD: Final = """# Command line

`make run` and `pip install` put the command `asr-service` into the environment's `bin` folder. In a checkout that is
`.venv/bin/asr-service`. Use that path, or activate the environment first: `source .venv/bin/activate`.

`asr-service --install-completion` installs shell completion of commands and options. Names that begin with `ASR_` are
[settings](settings.md).

`make docs` writes this file from the help texts.
"""
_PROGRAM: Final = "asr-service"
_WIDTH: Final = 100


def cli_markdown() -> str:
    """Return the text of docs/cli.md."""
    sections = [_section(get_command(build([])), _PROGRAM, None)]
    for name in command_names():
        root = get_command(build([name]))
        assert isinstance(root, TyperGroup)  # noqa: S101 - the program has several commands
        sections += _sections(root.commands[name], name, _context(root, _PROGRAM, None))
    return "\n".join([_HEAD, *sections])


def _sections(command: "Command", name: str, parent: typer.Context) -> Iterator[str]:
    """Yield the section of a command and those of its subcommands."""
    yield _section(command, name, parent)
    if isinstance(command, TyperGroup):
        for each, subcommand in command.commands.items():
            yield from _sections(subcommand, each, _context(command, name, parent))


def _section(command: "Command", name: str, parent: typer.Context | None) -> str:
    context = _context(command, name, parent)
    return f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"


def _context(command: "Command", name: str, parent: typer.Context | None) -> typer.Context:
    return typer.Context(command, info_name=name, parent=parent, terminal_width=_WIDTH)
