"""docs/cli.md is generated from the help texts, and each of these has examples."""

import re
from pathlib import Path

import pytest

from asr_service.cli.main import command_names
from scripts.cli_reference import cli_markdown

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SECTIONS: dict[str, str] = dict(re.findall(r"^## ([^\n]*)\n\n```text\n(.*?)```$", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_is_up_to_date():
    """A changed help text changes the page."""
    assert cli_markdown() == PAGE, "run: make docs"


def test_every_command_has_a_section():
    """The page has a section for each command and each subcommand."""
    assert {name.split()[1] for name in SECTIONS if " " in name} == set(command_names())


@pytest.mark.parametrize("name", [name for name, text in SECTIONS.items() if "COMMAND [ARGS]" not in text])
def test_every_command_has_examples(name):
    """Each line of the examples contains the command."""
    _, _, examples = SECTIONS[name].partition("  Example")
    lines = examples.partition("\n\n")[0].splitlines()[1:]
    assert lines
    assert all(name in line for line in lines)
