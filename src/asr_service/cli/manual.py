"""`asr-service manual`: docs/cli.md, made from the commands' own help."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from asr_service.cli.main import build, command_names

if TYPE_CHECKING:
    from typer._click.core import Command  # typer's public names lack the type of what `get_command` gives

_HEAD: Final = """# The command line

`asr-service --install-completion` has the shell complete commands and options. What begins with `ASR_` is a
[setting](settings.md).

This file is made by `asr-service manual`.
"""
_PROGRAM: Final = "asr-service"
_WIDTH: Final = 100


def manual_command() -> None:
    r"""Print every command's help, as docs/cli.md.

    \b
    Example:
      asr-service manual > docs/cli.md
    """
    typer.echo(manual_markdown(), nl=False)


def manual_markdown() -> str:
    sections = [_section(get_command(build([])), _PROGRAM, None)]
    for name in command_names():
        root = get_command(build([name]))
        assert isinstance(root, TyperGroup)  # noqa: S101 - it has more than one command
        sections += _sections(root.commands[name], name, _context(root, _PROGRAM, None))
    return "\n".join([_HEAD, *sections])


def _sections(command: "Command", name: str, above: typer.Context) -> Iterator[str]:
    """A command's own, and those of the commands below it."""
    yield _section(command, name, above)
    if isinstance(command, TyperGroup):
        for each, below in command.commands.items():
            yield from _sections(below, each, _context(command, name, above))


def _section(command: "Command", name: str, above: typer.Context | None) -> str:
    context = _context(command, name, above)
    return f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"


def _context(command: "Command", name: str, above: typer.Context | None) -> typer.Context:
    return typer.Context(command, info_name=name, parent=above, terminal_width=_WIDTH)
