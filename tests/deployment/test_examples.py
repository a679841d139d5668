"""deploy/ has the files that the commands in deploy/README.md render."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMMANDS = re.findall(
    r"^((?:ASR_\S+ )*)asr-service (render .*)$", (ROOT / "deploy/README.md").read_text(), re.MULTILINE
)


@pytest.mark.parametrize(("environ", "arguments"), COMMANDS)
def test_each_file_is_what_its_command_renders(environ, arguments, tmp_path):
    """After a change of a template or of a setting's default, run the commands of deploy/README.md again."""
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", *shlex.split(arguments)]
    folder = Path(command[-1])
    command[-1] = str(tmp_path)
    settings = dict(pair.split("=", 1) for pair in shlex.split(environ))
    subprocess.run(command, env=os.environ | settings, cwd=tmp_path, check=True, timeout=60)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert made
    for name, text in made.items():
        assert (ROOT / folder / name).read_text() == text, f"run: {environ}asr-service {arguments}"


def test_every_file_has_a_command():
    """No file in these directories is written by hand."""
    folders = {shlex.split(arguments)[-1] for _, arguments in COMMANDS}
    tops = {Path(*Path(folder).parts[:2]) for folder in folders}
    paths = [path.relative_to(ROOT) for top in tops for path in (ROOT / top).rglob("*") if path.is_file()]
    assert {str(_without_drop_in(path.parent)) for path in paths} == folders


def _without_drop_in(folder: Path) -> Path:
    """Return the folder of the units, for the folder of a unit's changes too."""
    return folder.parent if folder.suffix == ".d" else folder
