"""docs/cli.md is the commands' own help, and each command's has examples."""

import re
from pathlib import Path

import pytest

from asr_service.cli.main import command_names
from asr_service.cli.manual import manual_markdown

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SECTIONS: dict[str, str] = dict(re.findall(r"^## ([^\n]*)\n\n```text\n(.*?)```$", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_is_as_the_code_is():
    """An option that is added or changed changes it."""
    assert manual_markdown() == PAGE, "run: asr-service manual > docs/cli.md"


def test_every_command_has_its_section():
    """Those below a command too."""
    assert {name.split()[1] for name in SECTIONS if " " in name} == set(command_names())


@pytest.mark.parametrize("name", [name for name, text in SECTIONS.items() if "COMMAND [ARGS]" not in text])
def test_every_command_shows_examples(name):
    """A line each, that begins with the command or ends with it behind a pipe."""
    _, _, examples = SECTIONS[name].partition("  Example")
    lines = examples.partition("\n\n")[0].splitlines()[1:]
    assert lines
    assert all(name in line for line in lines)
