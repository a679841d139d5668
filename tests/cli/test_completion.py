"""Shell completion."""

import subprocess

import pytest

from asr_service.formats import FILE_FORMATS
from cli.terminal import COMMAND, environment, run


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("asr-service ", {"serve", "transcribe", "doctor"}),
        ("asr-service transcribe --fo", {"--format"}),
        ("asr-service transcribe -f ", set(FILE_FORMATS)),
        ("asr-service models ", {"list", "fetch", "verify"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_options_and_values(shell, line, offered, tmp_path):
    """The script of --show-completion asks for completions in this way."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(f"{line}.".split()) - 1), "_TYPER_COMPLETE_ARGS": line}
    result = run(cwd=tmp_path, **words, _ASR_SERVICE_COMPLETE=f"complete_{shell}")
    assert all(word in result.stdout for word in offered), result.stderr
    assert result.stderr == ""


def test_the_completion_script_is_that_of_the_calling_shell(tmp_path):
    """--show-completion prints the script for the shell that started it."""
    result = subprocess.run(
        [
            "bash",
            "-c",
            f"'{COMMAND[0]}' --show-completion && :",
        ],  # the second command keeps bash from replacing itself with the first
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "_ASR_SERVICE_COMPLETE=complete_bash" in result.stdout, result.stderr
